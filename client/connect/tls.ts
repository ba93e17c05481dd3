import { X509Certificate } from 'node:crypto';
import { connect } from 'node:tls';
import type { Duplex } from 'node:stream';
import type { TLSSocket } from 'node:tls';
import { certificatePem } from '../../attestation/certificates/pem';
import { RpcError } from '../../runtime/rpc/errors';
import { systemClock } from '../../runtime/clock';
import type { Clock } from '../../runtime/clock';
import { AttestationRefused, unavailable } from '../errors';

interface TlsOptions {
  /** The enclave's certificate as it was attested, DER. */
  certificate: Buffer;
  /** PEM. */
  clientKey: string;
  /** DER, leaf first. */
  clientCertificates: readonly Buffer[];
  trustDomain: string;
  signal?: AbortSignal;
  /** The system's, unless told. */
  clock?: Clock | undefined;
}

const HANDSHAKE_TIMEOUT_MS = 15_000;

/**
 * TLS 1.3 with the enclave on any transport, with a client certificate. The attested certificate is the only one that is trusted, and what was presented is
 * compared with it again once the handshake is over, byte by byte. Sessions are neither kept nor resumed.
 * @throws AttestationRefused, RpcError `connection.…`; the transport is closed then
 */
export async function connectAttestedTls(transport: Duplex, options: TlsOptions): Promise<TLSSocket> {
  const { certificate, signal, clock = systemClock } = options;
  const socket = connect({
    socket: transport,
    key: options.clientKey,
    cert: options.clientCertificates.map(certificatePem).join(''),
    ca: certificatePem(certificate),
    servername: `enclave.${options.trustDomain}`,
    minVersion: 'TLSv1.3',
    maxVersion: 'TLSv1.3',
    ecdhCurve: 'X25519:prime256v1',
    ALPNProtocols: ['h2'],
    rejectUnauthorized: true,
    // Names prove nothing here: every enclave has the same. Not called for a resumed session, so `check` does the work.
    checkServerIdentity: () => undefined,
  });
  const timer = clock.after(HANDSHAKE_TIMEOUT_MS, () =>
    socket.destroy(unavailable('connection.timeout', 'the enclave did not finish the TLS handshake in time')),
  );
  const abort = (): void => void socket.destroy(unavailable('connection.closed', 'given up'));
  signal?.addEventListener('abort', abort, { once: true });
  try {
    await new Promise<void>((resolve, reject) => {
      socket.once('secureConnect', resolve);
      socket.once('error', reject);
      socket.once('close', () =>
        reject(unavailable('connection.failed', 'the enclave closed the connection during the TLS handshake')),
      );
      transport.once('error', reject);
    });
    check(socket, certificate);
    return socket;
  } catch (error) {
    socket.destroy();
    transport.destroy();
    throw explain(error, socket);
  } finally {
    timer.cancel();
    signal?.removeEventListener('abort', abort);
    // The connection's own listeners come later; until then an error has nobody else to take it.
    socket.on('error', () => undefined);
  }
}

function check(socket: TLSSocket, expected: Buffer): void {
  if (socket.isSessionReused()) throw refused('resumed', 'expected a full handshake, got a resumed session');
  if (socket.getProtocol() !== 'TLSv1.3' || socket.alpnProtocol !== 'h2') {
    throw refused(
      'protocol',
      `expected TLSv1.3 and h2, got ${socket.getProtocol()} and ${String(socket.alpnProtocol)}`,
    );
  }
  const presented = socket.getPeerX509Certificate()?.raw;
  if (!presented?.equals(expected)) throw mismatch(expected, presented);
}

function refused(
  reason: 'certificate_mismatch' | 'protocol' | 'resumed',
  message: string,
  cause?: unknown,
): AttestationRefused {
  return new AttestationRefused('connection', 'connection', `connection.${reason}`, message, { cause });
}

function mismatch(expected: Buffer, presented: Buffer | undefined): AttestationRefused {
  const hash = (der: Buffer): string => new X509Certificate(der).fingerprint256.replaceAll(':', '').toLowerCase();
  return refused(
    'certificate_mismatch',
    `expected the certificate with SHA-256 ${hash(expected)}, got ${presented ? hash(presented) : 'none'}`,
  );
}

function explain(error: unknown, socket: TLSSocket): unknown {
  const { code = '', message } = error as NodeJS.ErrnoException;
  // Set where a certificate was presented that the attested one does not vouch for.
  if (socket.authorizationError)
    return refused(
      'certificate_mismatch',
      `expected the attested certificate, got another one (${String(socket.authorizationError)})`,
      error,
    );
  if (/PROTOCOL|UNSUPPORTED|WRONG_VERSION/.test(code))
    return refused('protocol', `expected TLSv1.3: ${message}`, error);
  if (error instanceof AttestationRefused || error instanceof RpcError) return error;
  return unavailable('connection.failed', `no TLS connection to the enclave: ${code || message}`, error);
}
