import { X509Certificate } from 'node:crypto';

/** Longest way up from a leaf that is looked for. */
const DEPTH_MAX = 6;

/** Authorities that may stand between a leaf and a root. None of them is trusted: the chain still has to be verified. */
export interface IntermediatePool {
  /** DER by issuer's subject, as node:crypto writes it. */
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
 * Adds authorities of the pool to a chain that ends below its root, so that nothing has to be fetched. What can't be completed, or read,
 * is handed back as it came: verifyChain says what is wrong with it.
 * @param certificates DER, leaf first
 * @returns DER, leaf first
 */
export function completeChain(certificates: readonly Uint8Array[], pool: IntermediatePool): Uint8Array[] {
  const chain = [...certificates];
  let last = read(chain.at(-1));
  while (last !== undefined && chain.length < DEPTH_MAX) {
    const child = last;
    const issuer = pool.bySubject.get(child.issuer)?.find((candidate) => isIssuer(candidate, child));
    if (issuer === undefined || issuer.raw.equals(child.raw)) break;
    chain.push(issuer.raw);
    last = issuer;
  }
  return chain;
}

/** By name and key identifier; several authorities of a maker share a name. Signatures are left to verifyChain, which weighs keys first. */
function isIssuer(candidate: X509Certificate, child: X509Certificate): boolean {
  return child.checkIssued(candidate);
}

function read(der: Uint8Array | undefined): X509Certificate | undefined {
  try {
    return der === undefined ? undefined : new X509Certificate(der);
  } catch {
    return undefined;
  }
}
