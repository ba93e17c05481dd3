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

export interface LogHead extends TreeHead {
  /** Compact JWS. Whoever was shown another log can be convinced by it. */
  signed: string;
}

export interface LogCheckOptions extends TrustOptions {
  /** Heads that were seen before: the log has to begin with all of them. */
  known?: readonly KnownHead[];
  /** Heads that somebody else was shown, signed, of any time: with these, too. */
  others?: readonly string[];
  /** Told the log's head, signed and of now, before it is compared with any other. */
  onHead?: (head: LogHead) => void;
  /** Receipts of logins. */
  logins?: readonly LoginReceipt[];
  /** Told how many logins were looked up. */
  onProgress?: (done: number) => void;
}

/** A login, and its place in the log. */
export interface FoundLogin {
  receipt: LoginReceipt;
  /** Undefined: not in the log yet, and not late. */
  sequence: number | undefined;
}

export interface LogCheck {
  head: LogHead;
  logins: FoundLogin[];
}

/**
 * Reads a signed head that is of now, by the log keys of a trust bundle.
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
 * Reads a head that somebody else was shown, of any time.
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
 * Looks at the audit log as anyone may: its head is signed by a key of the log and of now, the log has only grown since each known head, and each login
 * is in it. Nobody has to be logged in, and nothing is sent but hashes.
 *
 * The trust bundle is brought up to date first, so that a log key which was taken back is believed no longer.
 * @throws LogError; RpcError, among them audit.tree_damaged; AttestationRefused trust.…
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
