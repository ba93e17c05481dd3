import { callUnary } from '../runtime/rpc/client';
import { RpcError } from '../runtime/rpc/errors';
import { LogError } from '../attestation/transparency/errors';
import { largestOf, requireGrowth, rolledBack } from '../attestation/transparency/growth';
import type { KnownHead } from '../attestation/transparency/growth';
import { leafHash, rootFromPath } from '../attestation/transparency/merkle';
import { keysByName, MERGE_SECONDS, readTreeHead } from '../attestation/transparency/tree-head';
import type { TreeHead } from '../attestation/transparency/tree-head';
import type { TrustBundle } from '../attestation/trust/bundle';
import { TransparencyServiceClient } from '../proto/gen/licensing/v1/transparency';
import { withService } from './channel';
import { freshTrust } from './fresh-trust';
import type { TrustOptions } from './fresh-trust';
import { readLoginRecord } from './receipt';
import type { LoginReceipt } from './receipt';
import { dateOf, systemClock } from '../runtime/clock';

const TIMEOUT_MS = 15_000;
/** Proofs that are asked for at once. */
const AT_ONCE = 8;

/** A signed head of the audit log. */
export interface LogHead extends TreeHead {
  /** Compact JWS (RFC 7515). Anyone shown a different log can use it as proof. */
  signed: string;
}

/** What to check the audit log against. */
export interface LogCheckOptions extends TrustOptions {
  /** Heads seen before; the log must extend all of them. */
  known?: readonly KnownHead[];
  /** Signed heads shown to other people at any time (compact JWS); the log must extend these as well. */
  others?: readonly string[];
  /** Called with the log's current signed head, before it is compared with others. */
  onHead?: (head: LogHead) => void;
  /** Receipts of logins that the log must contain. */
  logins?: readonly LoginReceipt[];
  /** Called with the number of logins looked up so far. */
  onProgress?: (done: number) => void;
}

/** A login, and its place in the log. */
export interface FoundLogin {
  receipt: LoginReceipt;
  /** Sequence number of its record; undefined if it is not in the log yet, and not overdue. */
  sequence: number | undefined;
}

/** The result of a check that found nothing wrong. */
export interface LogCheck {
  head: LogHead;
  logins: FoundLogin[];
}

/**
 * Verifies a current signed head with the log keys of a trust bundle.
 * @throws LogError log.head_malformed, log.head_signature, log.head_stale
 */
export async function readLogHead(
  trust: Pick<TrustBundle, 'logKeys' | 'trustDomain'>,
  signed: string,
  now: Date | undefined = dateOf(systemClock),
): Promise<LogHead> {
  return {
    ...(await readTreeHead(signed, {
      keyOf: keysByName(trust.logKeys?.keys ?? []),
      trustDomain: trust.trustDomain,
      now,
    })),
    signed,
  };
}

/**
 * Verifies a signed head that somebody else was shown, of any age.
 * @throws LogError log.head_malformed, log.head_signature
 */
export async function readOtherHead(
  trust: Pick<TrustBundle, 'logKeys' | 'trustDomain'>,
  signed: string,
): Promise<LogHead> {
  try {
    return await readLogHead(trust, signed, undefined);
  } catch (error) {
    if (!(error instanceof LogError)) throw error;
    throw new LogError(
      error.code,
      `the head to compare with can't be used: ${error.message}`,
      'print it again with sls audit check --json; the key that signed an old one may have been dropped',
      { cause: error },
    );
  }
}

/**
 * Checks the audit log: its head is current and signed by a log key, it extends each known head (RFC 9162, 2.1.4), and it
 * contains each login (RFC 9162, 2.1.3). Requires no login, and sends nothing but hashes.
 *
 * The trust bundle is updated first, so that withdrawn log keys are no longer trusted.
 * @throws LogError log.rolled_back, log.forked, log.record_missing, log.proof_wrong, log.head_signature, log.head_stale, …
 * @throws RpcError audit.tree_damaged and others; AttestationRefused trust.…
 */
export async function checkAuditLog(
  trust: TrustBundle,
  { known: seen = [], others = [], logins = [], onHead, onProgress, ...options }: LogCheckOptions = {},
): Promise<LogCheck> {
  const fresh = await freshTrust('login', trust, undefined, options);
  return withService(TransparencyServiceClient, fresh.trust.services.login, fresh.trust, options, async (client) => {
    const call = { timeout: TIMEOUT_MS, signal: options.signal };
    const known = [...seen, ...(await Promise.all(others.map((other) => readOtherHead(fresh.trust, other))))];
    const largest = largestOf(known);
    const { head: signed } = await callUnary(
      client,
      client.getTreeHead,
      { atLeast: BigInt(largest?.size ?? 0) },
      call,
    ).catch((error: unknown) => {
      // It says itself that it has not so many any more.
      if (largest && error instanceof RpcError && error.code === 'audit.size')
        throw new LogError(
          'log.rolled_back',
          `the audit log was rolled back: it had ${largest.size} records, and now ${error.message}`,
        );
      throw error;
    });
    const head = await readLogHead(fresh.trust, signed);
    onHead?.(head);
    if (largest && head.size < largest.size) throw rolledBack(largest, head.size);
    for (const before of known) {
      await requireGrowth(before, head, async (first, second) => {
        const { path } = await callUnary(
          client,
          client.getConsistencyProof,
          { first: BigInt(first), second: BigInt(second) },
          call,
        );
        return path;
      });
    }
    const found: Array<FoundLogin & { wrong?: LogError }> = [];
    for (let at = 0; at < logins.length; at += AT_ONCE) {
      found.push(...(await Promise.all(logins.slice(at, at + AT_ONCE).map(find))));
      onProgress?.(found.length);
    }
    refuseMissing(found);
    for (const { wrong } of found) if (wrong) throw wrong;
    return { head, logins: found.map(({ receipt, sequence }) => ({ receipt, sequence })) };

    async function find(receipt: LoginReceipt): Promise<FoundLogin & { wrong?: LogError }> {
      const leafSha256 = leafHash(receipt.record);
      const proof = await callUnary(
        client,
        client.getInclusionProof,
        { leafSha256, size: BigInt(head.size) },
        call,
      ).catch((error: unknown) => {
        if (error instanceof RpcError && error.code === 'audit.not_included') return undefined;
        throw error;
      });
      const sequence = proof && Number(proof.sequence);
      if (
        sequence !== undefined &&
        (sequence < 0 || !rootFromPath(leafSha256, sequence, head.size, proof!.path)?.equals(head.root))
      ) {
        // Where one record was changed, the proofs of its neighbours are wrong as well: all are looked at before one is named.
        return {
          receipt,
          sequence,
          wrong: new LogError(
            'log.proof_wrong',
            `the service says that ${describe(receipt)} is record ${sequence} of the audit log, but its proof leads to another log`,
          ),
        };
      }
      return { receipt, sequence };
    }
  });
}

/** A record comes into the log `MERGE_SECONDS` after the login at the latest, by this machine's clock. */
function isLate({ receivedAt }: LoginReceipt): boolean {
  return Math.abs(systemClock.now() - receivedAt.getTime()) > MERGE_SECONDS * 1000;
}

function refuseMissing(logins: readonly FoundLogin[]): void {
  const missing = logins.filter(({ receipt, sequence }) => sequence === undefined && isLate(receipt));
  const [first] = missing;
  if (!first) return;
  const others = missing.length === 1 ? '' : `, nor are ${missing.length - 1} other logins of this machine`;
  throw new LogError('log.record_missing', `${describe(first.receipt)} is not in the audit log${others}`);
}

function describe({ record }: LoginReceipt): string {
  const { at, session } = readLoginRecord(record);
  return `the login of ${at.toISOString()} (session ${session})`;
}
