import { CompactSign, compactVerify, decodeProtectedHeader } from 'jose';
import type { CryptoKey, JWK } from 'jose';
import { z } from 'zod';
import { LogError } from './errors';
import { decodeUtf8 } from '../bytes/utf8';
import { criticalMember, criticalProblem } from '../documents/understood';

/** `typ` of a signed head (RFC 8725, 3.11). */
export const TREE_HEAD_TYPE = 'sls-tree-head+jwt';
/** A head is of these last seconds when a client gets it: nobody is kept in the past by an old one. */
export const TREE_HEAD_SECONDS = 300;
/** A record is in the tree this long after the decision at the latest. */
export const MERGE_SECONDS = 60;
/** A client's clock may be behind the service's by this. */
const SKEW_SECONDS = 60;
const MAX_LENGTH = 4096;

/** What the log consists of at a time: its first `size` records, by the hash of their tree (RFC 9162, 2.1.1). */
export interface TreeHead {
  size: number;
  /** 32 bytes. */
  root: Buffer;
  at: Date;
}

const headSchema = z.object({
  ...criticalMember,
  /** Whose log: the installation's trust domain. */
  iss: z.string(),
  /** Unix seconds. */
  iat: z.number().int(),
  size: z.number().int().min(0),
  root: z.string().regex(/^[0-9a-f]{64}$/),
});

/** Signs a head (RFC 7515, compact). */
export async function signTreeHead(
  { size, root, at }: TreeHead,
  { kid, key }: { kid: string; key: CryptoKey },
  trustDomain: string,
): Promise<string> {
  const head: z.infer<typeof headSchema> = {
    iss: trustDomain,
    iat: Math.floor(at.getTime() / 1000),
    size,
    root: root.toString('hex'),
  };
  return new CompactSign(Buffer.from(JSON.stringify(head), 'utf8'))
    .setProtectedHeader({ alg: 'ES256', typ: TREE_HEAD_TYPE, kid })
    .sign(key);
}

interface TreeHeadChecks {
  /** Keys of the log that are believed: public ones. Undefined where a kid is not known. */
  keyOf(kid: string): CryptoKey | JWK | undefined | Promise<CryptoKey | undefined>;
  trustDomain: string;
  /** Undefined: a head of any time. */
  now?: Date | undefined;
}

/** `keyOf` for the public keys of a trust bundle. */
export function keysByName(keys: ReadonlyArray<JWK & { kid: string }>): TreeHeadChecks['keyOf'] {
  return (kid) => keys.find((key) => key.kid === kid);
}

/**
 * Reads a signed head: signature by a key of the log, whose log, form, time.
 * @throws LogError log.head_malformed, log.head_signature, log.head_newer_release, log.head_stale
 */
export async function readTreeHead(jws: string, { keyOf, trustDomain, now }: TreeHeadChecks): Promise<TreeHead> {
  const { kid } = headerOf(jws);
  const key = await keyOf(kid);
  if (!key)
    throw new LogError(
      'log.head_signature',
      'expected a tree head signed by a log key of the trust bundle, got another key',
    );
  let payload: Uint8Array;
  try {
    ({ payload } = await compactVerify(jws, key, { algorithms: ['ES256'] }));
  } catch (cause) {
    throw new LogError('log.head_signature', "the tree head's signature is wrong", undefined, { cause });
  }
  let json: unknown;
  let head: z.infer<typeof headSchema>;
  try {
    json = JSON.parse(decodeUtf8(payload));
    head = headSchema.parse(json);
  } catch (cause) {
    throw new LogError('log.head_malformed', 'a field of the tree head is missing or malformed', undefined, { cause });
  }
  const problem = criticalProblem(json, head);
  if (problem !== undefined)
    throw new LogError(
      problem.newer ? 'log.head_newer_release' : 'log.head_malformed',
      `the tree head ${problem.message}`,
    );
  if (head.iss !== trustDomain)
    throw new LogError('log.head_malformed', `expected the log of ${trustDomain}, got that of ${head.iss}`);
  const at = new Date(head.iat * 1000);
  const age = now === undefined ? 0 : now.getTime() / 1000 - head.iat;
  if (age > TREE_HEAD_SECONDS || age < -SKEW_SECONDS) {
    throw new LogError(
      'log.head_stale',
      `expected a tree head of the last ${TREE_HEAD_SECONDS} seconds, got one of ${at.toISOString()}`,
      "is this machine's clock right?",
    );
  }
  return { size: head.size, root: Buffer.from(head.root, 'hex'), at };
}

/** The name of the key that a head says it is signed by. @throws LogError log.head_malformed */
export function headerOf(jws: string): { kid: string } {
  let header: ReturnType<typeof decodeProtectedHeader> | undefined;
  try {
    header = jws.length > MAX_LENGTH ? undefined : decodeProtectedHeader(jws);
  } catch {
    header = undefined;
  }
  if (header?.typ !== TREE_HEAD_TYPE || typeof header.kid !== 'string')
    throw new LogError('log.head_malformed', `expected a signed tree head (typ ${TREE_HEAD_TYPE})`);
  return { kid: header.kid };
}
