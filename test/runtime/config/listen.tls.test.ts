import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connect } from 'node:tls';
import { createAuthority } from '../../../licensing/authority/authority';
import { issueServerCertificate } from '../../../licensing/authority/server';
import { openTls } from '../../../runtime/config/listen';
import type { CertifiedKey } from '../../../runtime/keys/key-pair';
import { startServer } from '../../../runtime/rpc/server';
import { TestClock } from '../../support/clock';
import { eventually } from '../../support/eventually';

let folder: string;
let authority: CertifiedKey;
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'sls-tls-'));
  authority = await createAuthority({ commonName: 'server CA', trustDomain: 'sls.test', years: 1 });
});
afterAll(() => rmSync(folder, { recursive: true }));

const settings = (): Parameters<typeof openTls>[0] => ({
  LISTEN: { scheme: 'https' },
  TLS_KEY_FILE: join(folder, 'key'),
  TLS_CERTIFICATE_FILE: join(folder, 'certificate'),
});

async function issue(days = 90): Promise<CertifiedKey> {
  return issueServerCertificate(authority, { hosts: ['localhost'], days });
}

/** Serial number of what a server on this machine shows, as a client that believes our authority alone sees it. */
async function shown(port: number): Promise<string> {
  const socket = connect({
    port,
    host: '127.0.0.1',
    servername: 'localhost',
    ca: authority.certificate,
    ALPNProtocols: ['h2'],
  });
  try {
    await once(socket, 'secureConnect');
    return socket.getPeerX509Certificate()?.serialNumber ?? '';
  } finally {
    socket.destroy();
  }
}

test('a certificate that is replaced while the server runs is shown to connections from then on', async () => {
  const clock = new TestClock();
  const first = await issue();
  writeFileSync(join(folder, 'key'), first.privateKey);
  writeFileSync(join(folder, 'certificate'), first.certificate);
  const tls = await openTls(settings(), { clock });
  const server = await startServer({ address: { scheme: 'https', host: '127.0.0.1', port: 0 }, services: [], tls });
  try {
    const before = await shown(server.port);
    const second = await issue();
    // The key alone belongs to no certificate yet: the old pair stays.
    writeFileSync(join(folder, 'key'), second.privateKey);
    await clock.advance(2_000);
    expect(await shown(server.port)).toBe(before);
    writeFileSync(join(folder, 'certificate'), second.certificate);
    await eventually(async () => {
      await clock.advance(1_000);
      return (await shown(server.port)) !== before;
    });
  } finally {
    await server.stop(0);
  }
  // Nothing looks at the files any more.
  expect(clock.waits).toEqual([]);
});

test.each([
  ['key', 'TLS_KEY_FILE'],
  ['certificate', 'TLS_CERTIFICATE_FILE'],
])('a %s that is none, or is not there, names its setting', async (name, setting) => {
  const { certificate, privateKey } = await issue();
  const write = (): void => {
    writeFileSync(join(folder, 'key'), privateKey);
    writeFileSync(join(folder, 'certificate'), certificate);
  };
  write();
  writeFileSync(join(folder, name), 'none');
  await expect(openTls(settings())).rejects.toThrow('expected a key and its certificate in PEM, got something else');
  write();
  rmSync(join(folder, name));
  await expect(openTls(settings())).rejects.toThrow(
    `${setting} (${join(folder, name)}): the file can't be read: ENOENT`,
  );
  write();
});
