import { generateKeyPairSync, randomBytes, randomUUID } from 'node:crypto';
import type { JWK } from 'jose';
import { createAuthority } from '../../core/certificates/authority';
import { apply, find, kubectl } from '../../core/kubernetes/kubectl';

export const SERVICES = 'licensing';
export const ENCLAVES = 'licensing-enclaves';
const AUTHORITY_YEARS = 10;

export interface KeyOptions {
  trustDomain: string;
  /** CA certificates of TPM makers, PEM by file name. */
  ekRoots: Record<string, string>;
  /** URL of a PostgreSQL outside; none: the one that the overlay brings. */
  databaseUrl?: string;
}

type Parts = Record<string, string | Buffer>;

/**
 * Makes the Secrets and ConfigMaps that aren't there. A Secret that is there stays as it is: enclaves, tokens and evidence
 * depend on it. Each program gets its own, so that none reads another's key.
 * @returns the attestation CA's certificate, PEM, and the private key that signs revocation lists
 */
export async function createKeys({ trustDomain, ekRoots, databaseUrl }: KeyOptions): Promise<{ attestationRoot: string; revocationKey: JWK }> {
  const authority = (commonName: string) => async (): Promise<Parts> => {
    const { certificate, privateKey } = await createAuthority({ commonName, trustDomain, years: AUTHORITY_YEARS });
    return { 'certificate.pem': certificate, 'key.pem': privateKey };
  };
  const attestation = await secret('attestation-ca', authority('Attestation CA'));
  const clients = await secret('client-ca', authority('Client CA'));
  await secret('token-keys', () => ({ 'keys.json': JSON.stringify({ keys: [newSigningKey()] }) }));
  const revocation = await secret('revocation-key', () => ({ 'key.json': JSON.stringify(newSigningKey()) }));
  await secret('enrol-seal', () => ({ key: randomBytes(32) }));
  await secret('enclave-names', () => ({ key: randomBytes(32) }));
  await secret('database', () => databaseParts(databaseUrl));
  await apply([
    configMap(SERVICES, 'licensing', { trustDomain }),
    configMap(SERVICES, 'ek-roots', ekRoots),
    configMap(ENCLAVES, 'client-ca', { 'certificate.pem': text(clients, 'certificate.pem') }),
  ]);
  return { attestationRoot: text(attestation, 'certificate.pem'), revocationKey: JSON.parse(text(revocation, 'key.json')) as JWK };
}

async function secret(name: string, make: () => Parts | Promise<Parts>): Promise<Record<string, string>> {
  const found = await find<{ data: Record<string, string> }>('secret', SERVICES, name);
  if (found) return found.data;
  const data = Object.fromEntries(Object.entries(await make()).map(([key, value]) => [key, Buffer.from(value).toString('base64')]));
  const object = { apiVersion: 'v1', kind: 'Secret', metadata: { name, namespace: SERVICES }, type: 'Opaque', data };
  // create, not apply: an apply would keep a copy of the secret in an annotation or in managed fields of another owner.
  await kubectl(['create', '-f', '-'], JSON.stringify(object));
  return data;
}

function configMap(namespace: string, name: string, data: Record<string, string>): object {
  return { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name, namespace }, data };
}

function text(data: Record<string, string>, key: string): string {
  return Buffer.from(data[key] ?? '', 'base64').toString('utf8');
}

function databaseParts(url: string | undefined): Parts {
  if (url !== undefined) return { url };
  const password = randomBytes(24).toString('base64url');
  return { url: `postgres://licensing:${password}@postgres.${SERVICES}.svc.cluster.local:5432/licensing`, password };
}

/** A new P-256 signing key, private JWK. */
export function newSigningKey(): JWK {
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  return { ...(privateKey.export({ format: 'jwk' }) as JWK), kid: randomUUID(), alg: 'ES256', use: 'sig' };
}
