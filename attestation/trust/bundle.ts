import { z } from 'zod';
import { bootStateSchema } from '../boot/state';
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
const keySet = z.strictObject({
  keys: z
    .array(publicKeySchema)
    .min(1)
    .refine((keys) => new Set(keys.map(({ kid }) => kid)).size === keys.length, 'expected every kid once'),
});

const VERSION = 1;

const bundleSchema = z.strictObject({
  version: z.literal(VERSION),
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
  services: z.strictObject({ signup: address, login: address }),
  policy: z.strictObject({
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
 * @param text JSON
 * @throws TrustBundleError that names the fields which are wrong
 */
export function parseTrustBundle(text: string): TrustBundle {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch (error) {
    throw new TrustBundleError('trust_bundle.not_json', 'expected a trust bundle in JSON, got something else', {
      cause: error,
    });
  }
  const { version } = (json ?? {}) as { version?: unknown };
  if (typeof version === 'number' && version > VERSION)
    throw new TrustBundleError(
      'trust_bundle.malformed',
      `expected a trust bundle of version ${VERSION}, got version ${version}: it is for a newer release of this program`,
    );
  const result = bundleSchema.safeParse(json);
  if (result.success) return result.data;
  const lines = result.error.issues.map((issue) => `${issue.path.join('.') || 'bundle'}: ${issue.message}`);
  throw new TrustBundleError('trust_bundle.malformed', `the trust bundle is wrong: ${lines.join('; ')}`);
}

/** JSON with two spaces and a newline at the end. @throws TrustBundleError: what can't be read is not written. */
export function serializeTrustBundle(bundle: TrustBundle): string {
  const text = `${JSON.stringify(bundle, null, 2)}\n`;
  parseTrustBundle(text);
  return text;
}
