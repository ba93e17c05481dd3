import { X509Certificate } from 'node:crypto';
import type { TrustBundle } from '../../attestation/trust/bundle';
import { fingerprint } from '../../attestation/trust/public-key';

const sha256 = (pem: string): string => new X509Certificate(pem).fingerprint256.replaceAll(':', '').toLowerCase();

/** A trust bundle for people and, as JSON, for programs. */
export async function describeTrust(bundle: TrustBundle): Promise<{ json: object; lines: string[] }> {
  const { trustDomain, sequence, services, policy } = bundle;
  const json = {
    trustDomain,
    sequence,
    fingerprint: await fingerprint(bundle.trustKey),
    services,
    attestationRoots: bundle.attestationRoots.map(sha256),
    serverRoots: bundle.serverRoots.map(sha256),
    revocationKeys: await Promise.all(bundle.revocationKeys.keys.map(fingerprint)),
    logKeys: await Promise.all((bundle.logKeys?.keys ?? []).map(fingerprint)),
    policy,
  };
  const lines = [
    `trust domain  ${trustDomain}, bundle ${sequence}`,
    `trust key     ${json.fingerprint}`,
    `signup        ${services.signup}`,
    `login         ${services.login}`,
    ...json.attestationRoots.map((hash) => `attestation   ${hash}`),
    ...json.serverRoots.map((hash) => `server        ${hash}`),
    ...json.revocationKeys.map((hash) => `revocations   ${hash}`),
    ...json.logKeys.map((hash) => `audit log     ${hash}`),
    `software TPM  ${policy.softwareTpm}`,
    `images        ${policy.imageDigests?.join(', ') ?? 'any'}`,
    `boot states   ${policy.bootStates?.map(({ name }) => name).join(', ') ?? 'any'}`,
  ];
  return { json, lines };
}
