import { CompactSign, compactVerify, decodeProtectedHeader, importJWK } from 'jose';
import type { CryptoKey } from 'jose';
import { z } from 'zod';
import type { PublicKey } from './public-key';
import { CodedError } from '../../errors/coded-error';
import type { RevocationCode } from '../../errors/verifier';
import { decodeUtf8 } from '../bytes/utf8';
import { criticalMember, criticalProblem } from '../documents/understood';

const REVOCATIONS_TYPE = 'sls-revocations+jwt';
/** Life of a list. As long as someone between client and service can keep a revocation from being felt by showing an older one. */
export const REVOCATIONS_SECONDS = 60;
/** A client's clock may be behind the service's by this. */
const SKEW_SECONDS = 60;
const MAX_LENGTH = 768 * 1024;

/** Evidence that is good by itself, of something that is trusted no longer; or nothing shows that it still is. `code` is stable. */
export class RevocationError extends CodedError<RevocationCode> {
  override readonly name = 'RevocationError';
  readonly step = 'revocation';
}

const sha256 = z.string().regex(/^[0-9a-f]{64}$/);
const listSchema = z.object({
  ...criticalMember,
  /** Unix seconds. */
  iat: z.number().int(),
  exp: z.number().int(),
  /** Names. */
  nodes: z.array(z.string()),
  /** SHA-256 of TPMT_PUBLIC, hex. */
  aks: z.array(sha256),
  eks: z.array(sha256),
  /** Opaque ids. */
  users: z.array(z.string()),
  /** Sessions that were ended while a certificate of theirs is still good. */
  sessions: z.array(z.string()).default([]),
  /** Of the newest trust bundle: a client that has an older one asks for it. */
  trustSequence: z.number().int().min(0),
});

/** What is revoked now. */
export type RevocationList = z.infer<typeof listSchema>;
/** What is revoked, without the times of a list. */
export type Revoked = Pick<RevocationList, 'nodes' | 'aks' | 'eks' | 'users'> & { sessions?: string[] };

/** Signs what is revoked now, for a minute (RFC 7515, compact). */
export async function signRevocations(
  revoked: Revoked & { trustSequence: number },
  { kid, key }: { kid: string; key: CryptoKey },
  now: Date,
): Promise<string> {
  const iat = Math.floor(now.getTime() / 1000);
  const { nodes, aks, eks, users, sessions = [], trustSequence } = revoked;
  const list: RevocationList = { iat, exp: iat + REVOCATIONS_SECONDS, nodes, aks, eks, users, sessions, trustSequence };
  return new CompactSign(Buffer.from(JSON.stringify(list), 'utf8'))
    .setProtectedHeader({ alg: 'ES256', typ: REVOCATIONS_TYPE, kid })
    .sign(key);
}

/**
 * Reads a list: signature by one of the keys, form, time.
 * @param jws undefined or '' where none was given
 * @param keys `revocationKeys` of the trust bundle
 * @throws RevocationError revocation.missing, .malformed, .signature, .newer_release, .stale
 */
export async function readRevocations(
  jws: string | undefined,
  keys: readonly PublicKey[],
  now: Date,
): Promise<RevocationList> {
  if (jws === undefined || jws === '')
    throw new RevocationError('revocation.missing', 'expected a revocation list, got none');
  if (jws.length > MAX_LENGTH)
    throw new RevocationError('revocation.malformed', `expected a revocation list of ${MAX_LENGTH} characters at most`);
  const list = await verified(jws, keys);
  const seconds = now.getTime() / 1000;
  if (list.exp - list.iat > REVOCATIONS_SECONDS || seconds >= list.exp || seconds < list.iat - SKEW_SECONDS) {
    const made = new Date(list.iat * 1000).toISOString();
    throw new RevocationError(
      'revocation.stale',
      `expected a revocation list of the last ${REVOCATIONS_SECONDS} seconds at ${now.toISOString()}, got one of ${made}`,
    );
  }
  return list;
}

async function verified(jws: string, keys: readonly PublicKey[]): Promise<RevocationList> {
  let header: ReturnType<typeof decodeProtectedHeader>;
  try {
    header = decodeProtectedHeader(jws);
  } catch (cause) {
    throw new RevocationError('revocation.malformed', 'expected a revocation list as compact JWS', { cause });
  }
  if (header.typ !== REVOCATIONS_TYPE)
    throw new RevocationError('revocation.malformed', `expected a revocation list (typ ${REVOCATIONS_TYPE})`);
  const key = keys.find(({ kid }) => kid === header.kid);
  if (!key)
    throw new RevocationError(
      'revocation.signature',
      'expected a revocation list signed by a key of the trust bundle, got another key',
    );
  let payload: Uint8Array;
  try {
    ({ payload } = await compactVerify(jws, await importJWK(key, 'ES256'), { algorithms: ['ES256'] }));
  } catch (cause) {
    throw new RevocationError('revocation.signature', "the revocation list's signature is wrong", { cause });
  }
  let json: unknown;
  let list: RevocationList;
  try {
    json = JSON.parse(decodeUtf8(payload));
    list = listSchema.parse(json);
  } catch (cause) {
    throw new RevocationError('revocation.malformed', 'a field of the revocation list is missing or malformed', {
      cause,
    });
  }
  const problem = criticalProblem(json, list);
  if (problem === undefined) return list;
  throw new RevocationError(
    problem.newer ? 'revocation.newer_release' : 'revocation.malformed',
    `the revocation list ${problem.message}`,
  );
}

/** What a verified piece of evidence is about. */
export interface RevocationSubject {
  node: string;
  /** SHA-256 of TPMT_PUBLIC, hex. */
  akSha256: string;
  ekSha256: string;
  user: string;
  /** The client's own session, where it has one. */
  session?: string | undefined;
}

/** @throws RevocationError revocation.node, .ak, .ek, .user, .session */
export function checkRevocations(list: Revoked, { node, akSha256, ekSha256, user, session }: RevocationSubject): void {
  if (list.nodes.includes(node)) throw new RevocationError('revocation.node', `node ${node} is revoked`);
  if (list.aks.includes(akSha256))
    throw new RevocationError('revocation.ak', `attestation key ${akSha256} of node ${node} is revoked`);
  if (list.eks.includes(ekSha256))
    throw new RevocationError('revocation.ek', `endorsement key ${ekSha256} of node ${node} is revoked`);
  if (list.users.includes(user)) throw new RevocationError('revocation.user', `user ${user} is revoked`);
  if (session !== undefined && list.sessions?.includes(session))
    throw new RevocationError('revocation.session', `session ${session} was ended`);
}
