import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import type { Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { openInstallation, prepareFolder } from '../../launcher/installation';
import { chooseServices, HOST } from '../../launcher/services';
import type { Services } from '../../launcher/services';

let folder: string;
const said: string[] = [];
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'sls-services-'));
  said.length = 0;
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

/** As at a start. */
const start = async (): Promise<Services> =>
  chooseServices(await openInstallation(await prepareFolder(folder)), (line) => said.push(line));
const kept = (): object =>
  (JSON.parse(readFileSync(join(folder, 'installation.json'), 'utf8')) as { ports: object }).ports;

async function listen(port: number): Promise<Server> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(port, HOST, resolve));
  return server;
}

test('the ports of the first start stay', async () => {
  const first = await start();
  expect(first.addresses).toEqual({
    signup: `https://localhost:${first.ports.signup}`,
    login: `https://localhost:${first.ports.login}`,
  });
  expect(first.ports.signup).not.toBe(first.ports.login);
  expect(kept()).toEqual(first.ports);
  expect(await start()).toEqual(first);
  expect(said).toEqual([]);
});

test('one that is busy at a start is done without in that run alone, and is there again at the next', async () => {
  const first = await start();
  const other = await listen(first.ports.login);
  const second = await start();
  expect(second.ports.signup).toBe(first.ports.signup);
  expect([first.ports.login, first.ports.signup]).not.toContain(second.ports.login);
  expect(said).toEqual([
    expect.stringMatching(`^port ${first.ports.login} of login is taken: in this run it is ${second.ports.login}`),
  ]);
  expect(kept()).toEqual(first.ports);
  await new Promise((resolve) => other.close(resolve));
  expect(await start()).toEqual(first);
});
