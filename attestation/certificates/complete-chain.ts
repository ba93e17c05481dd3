import { X509Certificate } from '../crypto';

/** Longest way up from a leaf that is looked for, and most certificates that are looked at beside the pool. */
const MAX_DEPTH = 6;
const MAX_GIVEN = 16;

/** Authorities that may stand between a leaf and a root. None of them is trusted: the chain still has to be verified. */
export interface IntermediatePool {
  /** By subject, as node:crypto writes it. */
  readonly bySubject: ReadonlyMap<string, readonly X509Certificate[]>;
}

/** @param pems one certificate each */
export function makePool(pems: readonly string[]): IntermediatePool {
  const bySubject = new Map<string, X509Certificate[]>();
  for (const pem of pems) {
    const certificate = new X509Certificate(pem);
    const same = bySubject.get(certificate.subject);
    if (same === undefined) bySubject.set(certificate.subject, [certificate]);
    else same.push(certificate);
  }
  return { bySubject };
}

/**
 * Puts a chain in order, below its root, with authorities of the pool where some are missing: makers store chains in any order or not at all, and
 * nothing is fetched. Certificates that can't be read are handed back as they came: verifyChain says what is wrong with them.
 * @param certificates DER; the leaf first, the others in any order
 * @returns DER, leaf first
 */
export function completeChain(certificates: readonly Uint8Array[], pool: IntermediatePool): Uint8Array[] {
  const given = certificates.length > MAX_GIVEN ? undefined : readAll(certificates);
  let last = given?.[0];
  if (given === undefined || last === undefined) return [...certificates];
  const chain = [last];
  while (chain.length < MAX_DEPTH) {
    const child: X509Certificate = last;
    const candidates = [...given, ...(pool.bySubject.get(child.issuer) ?? [])];
    // By name and key identifier. Signatures are left to verifyChain, which weighs keys first.
    const issuer = candidates.find((candidate) => child.checkIssued(candidate) && !chain.includes(candidate));
    if (issuer === undefined || isRoot(issuer)) break;
    chain.push(issuer);
    last = issuer;
  }
  return chain.map(({ raw }) => raw);
}

/** Roots come from the verifier's own list alone. */
function isRoot(certificate: X509Certificate): boolean {
  return certificate.checkIssued(certificate);
}

function readAll(certificates: readonly Uint8Array[]): X509Certificate[] | undefined {
  try {
    const read = certificates.map((der) => new X509Certificate(der));
    // OpenSSL takes PEM here too, and ignores what follows.
    return read.every(({ raw }, at) => raw.equals(certificates[at] as Uint8Array)) ? read : undefined;
  } catch {
    return undefined;
  }
}
