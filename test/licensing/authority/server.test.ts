import { once } from 'node:events';
import { createServer, connect } from 'node:tls';
import type { AddressInfo } from 'node:net';
import { createAuthority, openAuthority } from '../../../licensing/authority/authority';
import { issueServerCertificate } from '../../../licensing/authority/server';

const options = { commonName: 'server CA', trustDomain: 'sls.test', years: 1 };

async function handshake(certificate: string, privateKey: string, ca: string, servername?: string): Promise<string> {
  const server = createServer({ cert: certificate, key: privateKey, minVersion: 'TLSv1.3' }, (socket) => socket.end());
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  try {
    return await new Promise((resolve) => {
      const socket = connect({ port: (server.address() as AddressInfo).port, host: '127.0.0.1', ca, servername }, () =>
        resolve('ok'),
      );
      socket.on('error', (error: NodeJS.ErrnoException) => resolve(error.code ?? 'error'));
      socket.resume();
    });
  } finally {
    server.close();
  }
}

test('a TLS client with the authority as its only root accepts the server under each of its names', async () => {
  const authority = await createAuthority(options);
  const { certificate, privateKey } = await issueServerCertificate(authority, {
    hosts: ['login.sls.test', '127.0.0.1'],
  });
  expect(await handshake(certificate, privateKey, authority.certificate)).toBe('ok');
  expect(await handshake(certificate, privateKey, authority.certificate, 'login.sls.test')).toBe('ok');
  expect(await handshake(certificate, privateKey, authority.certificate, 'other.sls.test')).toBe(
    'ERR_TLS_CERT_ALTNAME_INVALID',
  );
  const other = await createAuthority(options);
  expect(await handshake(certificate, privateKey, other.certificate)).not.toBe('ok');
});

test("an authority opens only with its own key, and only when it is a CA's", async () => {
  const authority = await createAuthority(options);
  const other = await createAuthority(options);
  await expect(openAuthority({ ...authority, privateKey: other.privateKey })).rejects.toThrow('got another one');
  await expect(openAuthority(await issueServerCertificate(authority, { hosts: ['a'] }))).rejects.toThrow(
    'expected a CA certificate',
  );
  await expect(openAuthority({ certificate: 'x', privateKey: 'y' })).rejects.toThrow('both PEM');
});
