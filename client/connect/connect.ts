import type { TLSSocket } from 'node:tls';
import { sha256Hex } from '../../attestation/crypto';
import { newNonce } from '../../attestation/certificates/proof';
import type { VerifiedEvidence } from '../../attestation/evidence/verify';
import { BulkSessionServiceClient } from '../../runtime/rpc/bulk';
import { channelBinding } from '../../runtime/rpc/channel-binding';
import { callUnary } from '../../runtime/rpc/client';
import type { TrustBundle } from '../../attestation/trust/bundle';
import { EnclaveServiceClient } from '../../proto/gen/licensing/v1/enclave';
import type { Evidence } from '../../proto/gen/licensing/v1/evidence';
import type { ClosedSeat } from '../../proto/gen/licensing/v1/seat';
import { CLIENT_OPTIONS, openEnclave } from '../channel';
import { comparingClocks } from '../clocks';
import { EnclaveConnection } from '../connection';
import { AttestationRefused, callError } from '../errors';
import { verifyLogin, verifySession } from '../evidence';
import type { VerifyingOptions } from '../evidence';
import { freshTrust, refuseRevoked } from '../fresh-trust';
import { requireSameInstallation } from '../identity';
import type { FreshTrust, TrustOptions } from '../fresh-trust';
import { HeldSeat, openSeats } from '../seat';
import type { SeatOptions } from '../seat';
import { sessionId } from '../session';
import type { Session } from '../session';
import { SingleUseCredentials } from './credentials';
import { connectAttestedTls } from './tls';
import { routeTo } from './transport';

/** What to verify, and whether to take a seat. */
export interface ConnectOptions extends VerifyingOptions, TrustOptions, SeatOptions {
  /** False: take no seat, even if the enclave requires one to run anything. `status` still works. Default: true. */
  seat?: boolean;
}

const CERTIFICATE_TIMEOUT_MS = 30_000;
const ATTEST_TIMEOUT_MS = 60_000;

/**
 * Connects to the enclave of a session. None of the user's data is sent before all of these steps have passed:
 * 1. verify the login's evidence again, and that nothing it names has been revoked since;
 * 2. fetch the enclave's certificate (while 1 waits for the revocation list) and compare it with the attested one;
 * 3. open TLS 1.3 with the client's certificate, and compare the presented certificate again;
 * 4. request a second quote over that connection, bound to its TLS exporter, and verify that it is about the same enclave;
 * 5. take a seat with that evidence, if the enclave requires one.
 * @returns a connection, to be ended with `close` or `end`
 * @example
 * const enclave = await connect(trust, await renew(trust, session));
 * try {
 *   await enclave.putFile('model.bin', 'model.bin');
 * } finally {
 *   await enclave.end();
 * }
 * @throws AttestationRefused if any step refuses; the connection is then closed
 * @throws RpcError connection.failed, connection.closed, connection.timeout if the enclave can't be reached;
 * seat.none_free if all seats are taken
 */
export function connect(
  pinned: TrustBundle,
  session: Session,
  options: ConnectOptions = {},
): Promise<EnclaveConnection> {
  return comparingClocks(pinned, options, () => connectVerified(pinned, session, options));
}

async function connectVerified(
  pinned: TrustBundle,
  session: Session,
  options: ConnectOptions,
): Promise<EnclaveConnection> {
  await requireSameInstallation(session, pinned);
  const { signal } = options;
  const certificate = session.evidence.enclaveCertificate;
  const handedOut = getCertificate(pinned, session, options);
  // Awaited below; what fails before must not leave it without a listener.
  handedOut.catch(() => undefined);
  const { trust, list } = await freshTrust('login', pinned, undefined, options);
  const first = verifyLogin(trust, session, options);
  refuseRevoked('login', list, first, options.onStep, sessionId(session));
  compareCertificate(await handedOut, certificate, options);

  const { target, options: route, transport } = routeTo(session.enclave, trust);
  let socket: TLSSocket | undefined;
  const credentials = new SingleUseCredentials(async (dialled) => {
    const { clientKey, clientCertificates } = session;
    socket = await connectAttestedTls(transport(dialled), {
      certificate,
      clientKey,
      clientCertificates,
      trustDomain: trust.trustDomain,
      signal,
    });
    options.onStep?.({
      phase: 'connection',
      step: 'connection',
      title: 'TLS 1.3 presents the attested certificate',
      detail: `${socket.getCipher().standardName}, no resumption`,
    });
    return socket;
  });
  const client = new BulkSessionServiceClient(target, credentials, {
    ...CLIENT_OPTIONS,
    ...route,
  });
  // While the enclave waits for its quote.
  const seats = options.seat === false ? undefined : openSeats(trust, options.allowPlaintext);
  try {
    const { evidence, verified, seatRequired, closedSeats } = await verifyOwnSession(
      client,
      { trust, list },
      session,
      first,
      () => socket,
      options,
    );
    const seat =
      seats && seatRequired
        ? await HeldSeat.take(seats, client, session, { evidence, closedSeats }, options)
        : undefined;
    if (!seat) seats?.close();
    return new EnclaveConnection(client, socket as TLSSocket, { certificate: first, session: verified }, seat);
  } catch (error) {
    seats?.close();
    client.close();
    socket?.destroy();
    throw credentials.failure ?? callError(error, socket?.destroyed ?? false);
  }
}

async function getCertificate(trust: TrustBundle, { enclave }: Session, { signal }: ConnectOptions): Promise<Buffer> {
  const client = openEnclave(EnclaveServiceClient, enclave.endpoint, trust);
  try {
    return (await callUnary(client, client.getCertificate, {}, { timeout: CERTIFICATE_TIMEOUT_MS, signal }))
      .certificate;
  } finally {
    client.close();
  }
}

/** Not needed for the proof: TLS compares again. It refuses a wrong endpoint before the client's certificate is shown to it. */
function compareCertificate(certificate: Buffer, attested: Buffer, { onStep }: ConnectOptions): void {
  if (!certificate.equals(attested)) {
    throw new AttestationRefused(
      'connection',
      'certificate',
      'certificate.mismatch',
      `expected the enclave to have the certificate with SHA-256 ${sha256Hex(attested)}, got ${sha256Hex(certificate)}`,
    );
  }
  onStep?.({
    phase: 'connection',
    step: 'certificate',
    title: 'the enclave has the attested certificate',
    detail: `SHA-256 ${sha256Hex(certificate)}`,
  });
}

async function verifyOwnSession(
  client: BulkSessionServiceClient,
  { trust, list }: FreshTrust,
  { clientKey }: Session,
  first: VerifiedEvidence,
  socket: () => TLSSocket | undefined,
  options: ConnectOptions,
): Promise<{ evidence: Evidence; verified: VerifiedEvidence; seatRequired: boolean; closedSeats: ClosedSeat[] }> {
  const nonce = newNonce();
  const { evidence, seatRequired, closedSeats } = await callUnary(
    client,
    client.attest,
    { nonce },
    { timeout: ATTEST_TIMEOUT_MS, signal: options.signal },
  );
  // An answer came, so there is a connection. Its exporter is computed at this end and never taken from the other one.
  const tlsExporter = channelBinding(socket() as TLSSocket);
  const verified = verifySession(trust, first, { evidence, nonce, tlsExporter, clientKey }, options);
  // Another key of the node's may have signed this time.
  refuseRevoked('session', list, verified, undefined);
  return { evidence: evidence as Evidence, verified, seatRequired, closedSeats };
}
