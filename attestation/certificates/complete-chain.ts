import { BytesError } from '../bytes/reader';
import { isNamedAsIssuer } from './chain';
import { readCertificateFields } from './fields';
import type { CertificateFields } from './fields';
import { certificateDer } from './pem';

/** Longest way up from a leaf that is looked for, and most certificates that are looked at beside the pool. */
const MAX_DEPTH = 6;
const MAX_GIVEN = 16;

/** Authorities that may stand between a leaf and a root. None of them is trusted: the chain still has to be verified. */
export type IntermediatePool = readonly CertificateFields[];

/** @param pems one certificate each. @throws BytesError, TypeError for one that can't be read: they are the verifier's own */
export function makePool(pems: readonly string[]): IntermediatePool {
  return pems.map((pem) => readCertificateFields(certificateDer(pem), 'maker'));
}

/**
 * Puts a chain in order, below its root, with authorities of the pool where some are missing: makers store chains in any order or not at all, and
 * nothing is fetched. Certificates that can't be read are handed back as they came: verifyChain says what is wrong with them.
 * @param certificates DER as makers write it (see CertificateForm); the leaf first, the others in any order
 * @returns DER, leaf first
 */
export function completeChain(certificates: readonly Uint8Array[], pool: IntermediatePool): Uint8Array[] {
  const given = certificates.length > MAX_GIVEN ? undefined : readAll(certificates);
  let last = given?.[0];
  if (given === undefined || last === undefined) return [...certificates];
  const chain = [last];
  while (chain.length < MAX_DEPTH) {
    const child: CertificateFields = last;
    const candidates = [...given, ...pool];
    // Signatures are left to verifyChain, which weighs keys first.
    const issuer = candidates.find((candidate) => isNamedAsIssuer(child, candidate) && !chain.includes(candidate));
    // Roots come from the verifier's own list alone.
    if (issuer === undefined || isNamedAsIssuer(issuer, issuer)) break;
    chain.push(issuer);
    last = issuer;
  }
  return chain.map(({ der }) => der);
}

function readAll(certificates: readonly Uint8Array[]): CertificateFields[] | undefined {
  try {
    return certificates.map((der) => readCertificateFields(der, 'maker'));
  } catch (error) {
    if (!(error instanceof BytesError)) throw error;
    return undefined;
  }
}
