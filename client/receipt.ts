import { sha256Hex } from '../attestation/crypto';
import { readRecord } from '../attestation/transparency/record';
import { LogError } from '../attestation/transparency/errors';
import type { Claims, Evidence } from '../proto/gen/licensing/v1/evidence';
import type { LogReceipt } from '../proto/gen/licensing/v1/transparency';
import { AttestationRefused } from './errors';
import { dateOf, systemClock } from '../runtime/clock';

/** What the service says of a login is a few hundred bytes. */
const MAX_BYTES = 16 * 1024;
/** Clocks of a node and of the service differ by this at most. */
const SKEW_SECONDS = 60;

/** The audit record of one of this client's logins. Only the service's claim until `checkAuditLog` finds it. Not secret. */
export interface LoginReceipt {
  /** The record, byte for byte as the log hashes it. */
  record: Buffer;
  /** By this machine's clock, which decides when the record is overdue. */
  receivedAt: Date;
}

/** A login, as its audit record describes it. */
export interface RecordedLogin {
  /** By the service's clock. */
  at: Date;
  /** Id. */
  user: string;
  /** Id. */
  session: string;
  workloadUid: string;
  node: string;
  /** `sha256:` and 64 hexadecimal digits. */
  imageDigest: string;
  /** SHA-256 of the claims in the login's evidence, in hexadecimal. */
  claimsSha256: string;
}

/** Reads the audit record of a login. @throws TypeError if it is malformed, or records something else */
export function readLoginRecord(record: Uint8Array): RecordedLogin {
  const { kind, at, detail } = readRecord(record);
  if (kind !== 'login.granted') throw new TypeError(`expected the record of a login, got one of ${kind}`);
  const text = (name: string): string => {
    const value = detail[name];
    if (typeof value !== 'string') throw new TypeError(`expected ${name} in the record of a login, got none`);
    return value;
  };
  return {
    at,
    user: text('user'),
    session: text('session'),
    workloadUid: text('workloadUid'),
    node: text('node'),
    imageDigest: text('imageDigest'),
    claimsSha256: text('claimsSha256'),
  };
}

/**
 * Compares what the service wrote down about a login with what the login's evidence, verified before, has shown: this user, this session, this
 * enclave, these very claims, then.
 * @param session of the client certificate
 * @returns undefined where the service gave none
 * @throws AttestationRefused log.record_wrong
 */
export function checkReceipt(
  receipt: LogReceipt | undefined,
  { session, evidence, claims }: { session: string | undefined; evidence: Pick<Evidence, 'claims'>; claims: Claims },
): LoginReceipt | undefined {
  if (receipt === undefined) return undefined;
  const { record } = receipt;
  let told: RecordedLogin;
  try {
    if (record.length > MAX_BYTES)
      throw new TypeError(`expected a record of ${MAX_BYTES} bytes at most, got ${record.length}`);
    told = readLoginRecord(record);
  } catch (cause) {
    throw refused((cause as Error).message, cause);
  }
  const expected: Record<Exclude<keyof RecordedLogin, 'at'>, string | undefined> = {
    user: claims.user,
    session,
    workloadUid: claims.workloadUid,
    node: claims.node,
    imageDigest: claims.imageDigest,
    claimsSha256: sha256Hex(evidence.claims),
  };
  for (const name of Object.keys(expected) as Array<keyof typeof expected>) {
    if (told[name] !== expected[name])
      throw refused(
        `expected the record of a login with ${name} ${expected[name] ?? 'none'}, got ${told[name].slice(0, 100)}`,
      );
  }
  const at = told.at.getTime() / 1000;
  if (at < Number(claims.issuedAt) - SKEW_SECONDS || at > Number(claims.expiresAt) + SKEW_SECONDS) {
    throw refused(
      `expected the record of a login of ${new Date(Number(claims.issuedAt) * 1000).toISOString()}, got one of ${told.at.toISOString()}`,
    );
  }
  return { record: Buffer.from(record), receivedAt: dateOf(systemClock) };
}

function refused(message: string, cause?: unknown): AttestationRefused {
  return new AttestationRefused('login', 'log', 'log.record_wrong', message, {
    cause: new LogError('log.record_wrong', message, undefined, { cause }),
  });
}
