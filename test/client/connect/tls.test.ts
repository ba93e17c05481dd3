import { generateKeyPairSync } from 'node:crypto';
import { once } from 'node:events';
import { connect, createServer } from 'node:net';
import type { AddressInfo } from 'node:net';
import { connectAttestedTls } from '../../../client/connect/tls';
import { certificateDer } from '../../../attestation/certificates/pem';
import { makeAuthority } from '../../support/authority';
import { TestClock } from '../../support/clock';

test('an endpoint that does not finish the handshake is given up after fifteen seconds', async () => {
  const clock = new TestClock();
  const authority = await makeAuthority('enclave');
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  // Takes what it is sent, and says nothing.
  const server = createServer((socket) => socket.on('error', () => undefined).resume()).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const transport = connect((server.address() as AddressInfo).port, '127.0.0.1');
  let ended = false;
  const connecting = connectAttestedTls(transport, {
    certificate: certificateDer(authority.certificate),
    clientKey: privateKey.export({ type: 'pkcs8', format: 'pem' }) as string,
    clientCertificates: [],
    trustDomain: 'sls.test',
    clock,
  }).finally(() => (ended = true));
  connecting.catch(() => undefined);
  await clock.advance(14_999);
  expect(ended).toBe(false);
  await clock.advance(1);
  await expect(connecting).toRejectWithCode('connection.timeout');
  expect(transport.destroyed).toBe(true);
  server.close();
});
