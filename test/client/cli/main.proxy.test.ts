import { rmSync, writeFileSync } from 'node:fs';
import { fingerprint } from '../../../attestation/trust/public-key';
import { signTrustBundle } from '../../../attestation/trust/signed-bundle';
import { makeAuthority } from '../../support/authority';
import { startConnectProxy } from '../../support/connect-proxy';
import type { ConnectProxy } from '../../support/connect-proxy';
import { Machine } from '../../support/machine';
import type { Ended } from '../../support/machine';
import { startTrustService } from '../../support/trust-service';
import type { TestTrustService } from '../../support/trust-service';

let machine: Machine;
let service: TestTrustService;
let proxy: ConnectProxy;
let address: string;
let shown: string;
beforeAll(async () => {
  machine = new Machine();
  [service, proxy] = await Promise.all([startTrustService(), startConnectProxy()]);
  address = `http://login.sls.test:${new URL(service.address).port}`;
  service.bundle = {
    version: 1,
    sequence: 1,
    trustDomain: 'sls.test',
    trustKey: service.trustKey.publicKey,
    revocationKeys: { keys: [service.revocationKey.publicKey] },
    attestationRoots: [(await makeAuthority('attestation')).certificate],
    serverRoots: [],
    services: { signup: address, login: address },
    policy: { softwareTpm: 'refuse' },
  };
  shown = await fingerprint(service.bundle.trustKey);
  writeFileSync(machine.path('bundle.jws'), await signTrustBundle(service.bundle, service.trustKey.privateKey));
});
beforeEach(() => {
  for (const folder of ['config', 'state']) rmSync(machine.path(folder), { recursive: true, force: true });
  proxy.asked.splice(0);
  proxy.status = 200;
});
afterAll(async () => {
  await Promise.all([service.stop(), proxy.stop()]);
  await machine.remove();
});

const add = (to: string, env: Record<string, string>): Promise<Ended> =>
  machine.sls(['trust', 'add', to, '--fingerprint', shown], { env });
const url = (): string => `http://127.0.0.1:${proxy.port}`;

test('a service elsewhere is reached by the proxy, one on this machine is not', async () => {
  expect(await add(address, { http_proxy: url() })).toMatchObject({ code: 0 });
  expect(proxy.asked).toHaveLength(1);
  expect(await add(service.address, { http_proxy: url(), all_proxy: url() })).toMatchObject({ code: 0 });
  expect(proxy.asked).toHaveLength(1);
});

test('a proxy that opens no tunnel: exit 6, named in the hint, and every line on standard error is ours', async () => {
  proxy.status = 403;
  const { code, stderr } = await add(address, { http_proxy: url() });
  expect(proxy.asked.length).toBeGreaterThan(0);
  expect({ code, stderr }).toEqual({
    code: 6,
    stderr: expect.stringMatching(/^sls: .*\nhint: .*http_proxy names a proxy.*NO_PROXY.*\n$/) as string,
  });
});

test('a proxy of a kind that is not known: its variable is named, its password is not', async () => {
  const { code, stderr } = await add(address, { all_proxy: 'socks5://ada:hunter2@127.0.0.1:1' });
  expect({ code, stderr }).toEqual({
    code: 1,
    stderr: expect.stringMatching(/^sls: all_proxy: expected an HTTP proxy.*\nhint: .*\n$/) as string,
  });
  expect(stderr).not.toContain('hunter2');
});

test('a service that nobody serves leaves no line of the library either', async () => {
  expect((await add('http://127.0.0.1:1', {})).stderr).toMatch(/^sls: .*\nhint: .*\n$/);
});
