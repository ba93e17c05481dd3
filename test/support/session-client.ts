import { connect as connectTls } from 'node:tls';
import type { ConnectionOptions, TLSSocket } from 'node:tls';
import type { Session } from '../../client/session';

function pem(der: Buffer): string {
  return `-----BEGIN CERTIFICATE-----\n${der.toString('base64').replace(/(.{64})/g, '$1\n')}\n-----END CERTIFICATE-----\n`;
}

/** A TLS client that checks nothing: what an attacker would use against the enclave. */
export function connectUnchecked(
  session: Partial<Pick<Session, 'clientKey' | 'clientCertificates'>>,
  port: number,
  options: ConnectionOptions = {},
): TLSSocket {
  const socket = connectTls({
    host: '127.0.0.1',
    port,
    key: session.clientKey,
    cert: session.clientCertificates?.map(pem).join(''),
    rejectUnauthorized: false,
    ALPNProtocols: ['h2'],
    ...options,
  });
  socket.on('error', () => undefined);
  return socket;
}

/** HTTP/2 connection preface and an empty SETTINGS frame (RFC 9113, 3.4, 6.5). */
export const HTTP2_PREFACE = Buffer.concat([
  Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'),
  Buffer.from([0, 0, 0, 4, 0, 0, 0, 0, 0]),
]);

/** True when the other end answers as an HTTP/2 server; false when it closes instead. A client of TLS 1.3 learns of a refusal only then. */
export function isServed(socket: TLSSocket): Promise<boolean> {
  return new Promise((resolve) => {
    socket.once('data', () => {
      resolve(true);
      socket.destroy();
    });
    socket.once('close', () => resolve(false));
    socket.once('secureConnect', () => socket.write(HTTP2_PREFACE));
  });
}
