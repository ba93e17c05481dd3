import { X509Certificate } from 'node:crypto';
import { status } from '@grpc/grpc-js';
import { sha256 } from '../../../attestation/crypto';
import type { AccountBackend } from '../../../licensing/accounts/backend';
import { isUuid } from '../../../attestation/bytes/uuid';
import { CertificateError } from '../../../attestation/certificates/errors';
import { verifyClientCertificate } from '../../../attestation/certificates/client';
import type { ClientCertificate } from '../../../attestation/certificates/client';
import type { SeatExpected } from '../../../attestation/evidence/expected';
import { enclaveOf } from '../../../attestation/evidence/enclave-name';
import { recordRefusal } from '../../../licensing/licences/redeem';
import { busy } from '../../../runtime/rpc/calls';
import { RpcError } from '../../../runtime/rpc/errors';
import { unary } from '../../../runtime/rpc/handlers';
import { toUnixSeconds } from '../../../runtime/rpc/unix-time';
import type { SeatPool, Seats, SeatSession } from '../../../licensing/seats/seats';
import { verifyClosing, verifyHeartbeat, verifySeatProof } from '../../../attestation/seats/statements';
import { SeatTokenError, verifySeatToken } from '../../../attestation/seats/token';
import type { SeatClaims } from '../../../attestation/seats/token';
import type { SeatWatch } from '../../../licensing/seats/watch';
import { callerOf } from '../../../licensing/sessions/bearer';
import type { ClosedSeat, SeatGrant, SeatServiceServer, TakeSeatRequest } from '../../../proto/gen/licensing/v1/seat';
import type { LoginTrust } from '../trust';
import type { SeatSigner } from '../../../licensing/authority/seat-signer';
import { issueSeatToken } from '../../../licensing/seats/issue-token';
import { dateOf } from '../../../runtime/clock';
import type { ServiceCode } from '../../../errors/service';
import type { SeatTokenCode } from '../../../errors/verifier';
import type { Implementation } from '../../../runtime/rpc/handlers';
import { Turns } from '../../../runtime/turns/turns';

interface SeatServiceOptions {
  backend: AccountBackend;
  trust: LoginTrust;
  seats: Seats;
  watch: Pick<SeatWatch, 'isOut' | 'stay' | 'settle'>;
  /** Life of a seat without heartbeat. */
  windowSeconds: number;
  /** PEM roots of client certificates, as they are now. */
  clientRoots(): Promise<string>;
  signer(): Promise<SeatSigner>;
  /** Among which seats a user's count. @param before the licence that one counted by so far, null for none @throws RpcError where the user may have none */
  poolOf(user: string, before?: string | null): Promise<SeatPool>;
}

/** Of one window: two heartbeats may be lost. */
const HEARTBEATS = 3;
/** By which the clocks of enclave and service may differ, as in evidence. */
const SKEW_MS = 60_000;
/** A client whose seat has just lapsed may still say that its session is over. */
const LATE_SECONDS = 3600;
const MAX_FREED = 100;
/** As many as an enclave tells a client of: enclave/session/closed-seats.ts. */
const MAX_CLOSED = 32;
/** Longer ago no token ended that stays: SEAT_OUTAGE_SECONDS is no more. */
const MAX_OUTAGE_SECONDS = 86_400;
/** Calls that wait for others of their user. */
const MAX_WAITING = 1024;

function denied(code: ServiceCode | SeatTokenCode, message: string, cause?: unknown): RpcError {
  return new RpcError(code, status.PERMISSION_DENIED, message, { cause });
}

/** SubjectPublicKeyInfo of the attested enclave's TLS key. @throws RpcError FAILED_PRECONDITION seat.evidence_refused */
function enclaveKey(certificate: Buffer): Buffer {
  try {
    const { publicKey } = new X509Certificate(certificate);
    if (publicKey.asymmetricKeyDetails?.namedCurve !== 'prime256v1') throw new TypeError('not P-256');
    return publicKey.export({ type: 'spki', format: 'der' });
  } catch (cause) {
    throw new RpcError(
      'seat.evidence_refused',
      status.FAILED_PRECONDITION,
      'expected an enclave certificate with a P-256 key in the evidence',
      { cause },
    );
  }
}

/** SeatService: gives seats to sessions that are shown to run, by the evidence and the heartbeats of their enclaves. */
export function seatService({
  backend,
  trust,
  seats,
  watch,
  windowSeconds,
  clientRoots,
  signer,
  poolOf,
}: SeatServiceOptions): Implementation<SeatServiceServer> {
  const { trustDomain, sessions, clock } = backend;
  // One call after another of each user: to verify evidence takes this program's whole attention, and a seat's row the others' that wait for it.
  const turns = new Turns({ atOnce: Infinity, ofOne: 1, waiting: MAX_WAITING }, busy);

  const grant = async (claims: SeatClaims): Promise<SeatGrant> => ({
    seat: claims.seat,
    token: await issueSeatToken(await signer(), claims, { trustDomain }),
    expiresAt: BigInt(claims.expiresAt),
    heartbeatSeconds: Math.max(1, Math.floor(windowSeconds / HEARTBEATS)),
  });

  const admitClient = async ({ clientCertificates, evidence, proof }: TakeSeatRequest): Promise<ClientCertificate> => {
    let client: ClientCertificate;
    try {
      client = verifyClientCertificate(clientCertificates, await clientRoots(), {
        trustDomain,
        now: dateOf(clock),
      });
    } catch (cause) {
      if (!(cause instanceof CertificateError)) throw cause;
      throw new RpcError(cause.code, status.UNAUTHENTICATED, cause.message, { cause });
    }
    if (!evidence || !verifySeatProof(client.publicKey, evidence.claims, proof)) {
      throw new RpcError(
        'seat.proof',
        status.UNAUTHENTICATED,
        "expected the client key's signature over the evidence's claims, got another one",
      );
    }
    return client;
  };

  /** A session of this very client's, by its enclave's evidence. */
  const verifiedSession = async (
    { user, session, publicKey }: ClientCertificate,
    evidence: NonNullable<TakeSeatRequest['evidence']>,
  ): Promise<SeatSession> => {
    // Which session it is, its claims say: the enclave compares the token with its own exporter, so whoever has another session gets nothing from it.
    const expected: SeatExpected = {
      situation: 'seat',
      clientKeySha256: sha256(publicKey.export({ type: 'spki', format: 'der' })),
      user,
    };
    const { claims } = await trust.verify(evidence, expected, 'seat.evidence_refused');
    const { tlsExporter, workloadUid, node } = claims;
    return {
      user,
      session,
      tlsExporter,
      enclaveKey: enclaveKey(evidence.enclaveCertificate),
      enclave: enclaveOf(claims),
      workloadUid,
      node,
    };
  };

  /** Frees the seats that their enclaves say are closed. @returns how many of these are said so, and may still count */
  const freeClosed = async (user: string, closed: readonly ClosedSeat[]): Promise<number> => {
    const told = new Map(closed.filter(({ seat }) => isUuid(seat)).map(({ seat, closing }) => [seat, closing]));
    if (told.size === 0) return 0;
    const good = (await seats.findOf(user, [...told.keys()])).filter((row) => {
      const closing = told.get(row.id);
      const at = Number(closing?.at ?? -1n);
      if (!closing || at < 0) return false;
      return verifyClosing(
        row.enclave_key,
        { trustDomain, seat: row.id, tlsExporter: row.tls_exporter, at },
        closing.signature,
      );
    });
    if (good.length > 0)
      await seats.close(
        user,
        good.map(({ id }) => id),
      );
    return good.length;
  };

  /** By its token alone, while the database is away: whether the connection is open, the enclave knows. */
  const stayingBy = async (seat: string, token: string): Promise<SeatClaims | undefined> => {
    if (token === '') return undefined;
    const context = { rootsPem: await clientRoots(), trustDomain, now: dateOf(clock), late: MAX_OUTAGE_SECONDS };
    const claims = await verifySeatToken(token, context).catch(() => undefined);
    return claims?.seat === seat ? watch.stay(claims) : undefined;
  };

  return {
    takeSeat: unary(async (request, context) => {
      const client = await admitClient(request);
      context.user = client.user;
      return turns.take(client.user, context.signal, async () => {
        await watch.settle();
        await sessions.requireAlive({ user: client.user, session: client.session });
        const session = await verifiedSession(client, request.evidence!);
        const { user, workloadUid } = session;
        await freeClosed(user, request.closed.slice(0, MAX_CLOSED));
        const pool = await poolOf(user);
        const claims = await seats.take(session, pool).catch(async (error: unknown) => {
          // Of sessions alone: heartbeats that find no room are counted.
          if (error instanceof RpcError && error.code === 'seat.none_free')
            await recordRefusal(backend.database, { user, licence: pool.licence, code: error.code }, context.log);
          throw error;
        });
        context.log.info({ user, seat: claims.seat, workloadUid }, 'seat taken');
        return { grant: await grant(claims) };
      });
    }),

    renewSeat: unary(async ({ seat, heartbeat, token }, context) => {
      if (watch.isOut) {
        const staying = await stayingBy(seat, token);
        // At once: the client comes back with the token, or later.
        if (!staying)
          throw new RpcError(
            'store.unavailable',
            status.UNAVAILABLE,
            'the account database is away for now: try again',
          );
        context.user = staying.user;
        return { grant: await grant(staying) };
      }
      const row = isUuid(seat) ? await seats.find(seat) : undefined;
      const at = Number(heartbeat?.at ?? 0n);
      // One answer for a seat that isn't there and for somebody else's.
      if (
        !row ||
        !heartbeat ||
        at < 0 ||
        !verifyHeartbeat(row.enclave_key, { seat, tlsExporter: row.tls_exporter, at }, heartbeat.signature)
      ) {
        throw denied('seat.heartbeat', "expected a heartbeat of the seat's own session, signed by its enclave");
      }
      if (Math.abs(clock.now() - at) > SKEW_MS)
        throw denied('seat.heartbeat_old', `expected a heartbeat of the last ${SKEW_MS / 1000} seconds`);
      context.user = row.user_id;
      return turns.take(row.user_id, context.signal, async () => {
        await sessions.requireAlive({ user: row.user_id, session: row.session_id });
        return { grant: await grant(await seats.renew(row, at, await poolOf(row.user_id, row.licence_id))) };
      });
    }),

    endSeat: unary(async ({ token, closing }) => {
      const claims = await verifySeatToken(token, {
        rootsPem: await clientRoots(),
        trustDomain,
        now: dateOf(clock),
        late: LATE_SECONDS,
      }).catch((cause: unknown) => {
        if (cause instanceof SeatTokenError) throw denied(cause.code, cause.message, cause);
        throw cause;
      });
      const { seat, user } = claims;
      // Whatever else is wrong, the client wants no other token for it.
      await seats.end(claims);
      if (!closing) return {};
      if ((await freeClosed(user, [{ seat, closing }])) === 0 && (await seats.findOf(user, [seat])).length > 0)
        throw denied('seat.closing', "expected the word of the seat's enclave that its connection is closed");
      return {};
    }),

    listSeats: unary(async (_request, context) => {
      const { user } = callerOf(context);
      const pool = await poolOf(user);
      const { seats: own, taken } = await seats.list(user, pool);
      return {
        seats: own.map(({ takenAt, renewedAt, expiresAt, ...rest }) => ({
          ...rest,
          takenAt: toUnixSeconds(takenAt),
          renewedAt: toUnixSeconds(renewedAt),
          expiresAt: toUnixSeconds(expiresAt),
        })),
        limit: pool.seats,
        taken,
        licence: pool.licence ?? '',
      };
    }),

    freeSeats: unary(async ({ seats: ids }, context) => {
      const { user } = callerOf(context);
      const wanted = ids.filter((id) => isUuid(id)).slice(0, MAX_FREED);
      const freed = ids.length > 0 && wanted.length === 0 ? 0 : await seats.free(user, wanted);
      // One answer for another user's seat and for none.
      if (ids.length > 0 && freed === 0)
        throw new RpcError('seat.not_found', status.NOT_FOUND, 'there is no such seat, or it is free');
      return { freed };
    }),
  };
}
