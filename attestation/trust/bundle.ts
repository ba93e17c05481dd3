import { z } from 'zod';
import { bootStateSchema } from '../boot/state';
import { criticalMember, criticalProblem, unknownMembers } from '../documents/understood';
import { readCertificateFields } from '../certificates/fields';
import { certificateDer } from '../certificates/pem';
import { ADDRESS_RULE, isAddress } from './address';
import { publicKeySchema } from './public-key';
import { CodedError } from '../../errors/coded-error';
import type { TrustBundleCode } from '../../errors/verifier';

/** A trust bundle that can't be used. */
export class TrustBundleError extends CodedError<TrustBundleCode> {
  override readonly name = 'TrustBundleError';
}

/** Exactly one certificate, in the forms of any authority (a server's may be anybody's): what stands behind it in the same text would be dropped in silence. */
const certificate = z.string().refine((text) => {
  try {
    return (
      (text.match(/-----BEGIN /g) ?? []).length === 1 &&
      readCertificateFields(certificateDer(text), 'maker').basicConstraints?.ca === true
    );
  } catch {
    return false;
  }
}, 'expected one CA certificate in PEM');

const address = z.string().refine(isAddress, `expected ${ADDRESS_RULE}`);

/** Public keys as a JWK Set (RFC 7517, 5). */
const keySet = z.object({
  keys: z
    .array(publicKeySchema)
    .min(1)
    .refine((keys) => new Set(keys.map(({ kid }) => kid)).size === keys.length, 'expected every kid once'),
});

const VERSION = 1;

const bundleSchema = z.object({
  version: z.literal(VERSION),
  ...criticalMember,
  /** Grows with every change: of two bundles signed by one trust key, the higher one is newer. */
  sequence: z.number().int().min(0),
  /** Signs this bundle and those after it. A client that has it takes no other. */
  trustKey: publicKeySchema,
  /** Sign revocation lists. */
  revocationKeys: keySet,
  /** Sign licence keys. Absent where nobody issues licences. */
  licenceKeys: keySet.optional(),
  /** Sign the heads of the audit log. Absent: the installation has none. */
  logKeys: keySet.optional(),
  trustDomain: z
    .string()
    .max(253)
    .regex(/^[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*$/, 'expected a DNS name in lower case'),
  attestationRoots: z.array(certificate).min(1),
  serverRoots: z.array(certificate),
  services: z.object({ signup: address, login: address }),
  policy: z.object({
    softwareTpm: z.enum(['allow', 'refuse']),
    imageDigests: z
      .array(z.string().regex(/^sha256:[0-9a-f]{64}$/, 'expected sha256: and 64 hexadecimal digits'))
      .optional(),
    bootStates: z.array(bootStateSchema).min(1).max(64).optional(),
  }),
});

/**
 * Everything that a client trusts in advance, as one JSON file from its operator: root certificates for attestation keys and
 * for the services' TLS (PEM; several during a rotation), the keys that sign bundles, revocation lists, licences and heads of
 * the audit log, the addresses of the services, and the policy for enclaves.
 */
export type TrustBundle = z.infer<typeof bundleSchema>;

/**
 * Reads a bundle, of a newer release as well: what this one doesn't know is passed over, unless it is critical.
 * @param text JSON
 * @param options `byHand`: of a person, whose slip of the pen would be passed over in silence: what isn't known is refused
 * @throws TrustBundleError that names the fields which are wrong
 */
export function parseTrustBundle(text: string, { byHand = false }: { byHand?: boolean } = {}): TrustBundle {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch (error) {
    throw new TrustBundleError('trust_bundle.not_json', 'expected a trust bundle in JSON, got something else', {
      cause: error,
    });
  }
  const bundle = readTrustBundle(json);
  requireUnderstood(json, bundle);
  const unknown = byHand ? unknownMembers(json, bundle) : [];
  if (unknown.length === 0) return bundle;
  const lines = unknown.map((path) => `${path}: this release doesn't know it`);
  throw new TrustBundleError('trust_bundle.malformed', `the trust bundle is wrong: ${lines.join('; ')}`);
}

/** Reads the form alone: whether all that is critical in it is known is `requireUnderstood`'s question. @throws TrustBundleError */
export function readTrustBundle(json: unknown): TrustBundle {
  const { version } = (json ?? {}) as { version?: unknown };
  if (typeof version === 'number' && version > VERSION)
    throw new TrustBundleError(
      'trust_bundle.newer_release',
      `expected a trust bundle of version ${VERSION}, got version ${version}: it needs a newer release`,
    );
  const result = bundleSchema.safeParse(json);
  if (result.success) return result.data;
  const lines = result.error.issues.map((issue) => `${issue.path.join('.') || 'bundle'}: ${issue.message}`);
  throw new TrustBundleError('trust_bundle.malformed', `the trust bundle is wrong: ${lines.join('; ')}`);
}

/** @param json what `bundle` was read from @throws TrustBundleError */
export function requireUnderstood(json: unknown, bundle: TrustBundle): void {
  const problem = criticalProblem(json, bundle);
  if (problem !== undefined)
    throw new TrustBundleError(
      problem.newer ? 'trust_bundle.newer_release' : 'trust_bundle.malformed',
      `the trust bundle ${problem.message}`,
    );
}

/** JSON with two spaces and a newline at the end. @throws TrustBundleError: what can't be read is not written. */
export function serializeTrustBundle(bundle: TrustBundle): string {
  const text = `${JSON.stringify(bundle, null, 2)}\n`;
  parseTrustBundle(text);
  return text;
}
