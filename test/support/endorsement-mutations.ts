import 'reflect-metadata';
import { makePool } from '../../attestation/certificates/complete-chain';
import { parseEndorsementKey } from '../../attestation/tpm/endorsement';
import { verifyEndorsement } from '../../functions/enrol/endorsement-certificate';
import { BytesError } from '../../attestation/bytes/reader';
import { CertificateError } from '../../attestation/certificates/errors';
import { mutate, numbers } from './tpm-mutations';
import type { Outcomes } from './tpm-mutations';

export interface EndorsementMutations {
  /** TPMT_PUBLIC. */
  area: Uint8Array;
  /** DER. */
  certificate: Uint8Array;
  /** PEM, of who certified it. */
  roots: string[];
  mutations: number;
}

/** Verifies mutations of a certificate. @throws Error of the bytes that gave anything but the TPM's own identity or a CertificateError or BytesError */
export function verifyMutations({ area, certificate, roots, mutations }: EndorsementMutations): Outcomes {
  Error.stackTraceLimit = 0;
  const trust = { roots, intermediates: makePool([]), hashes: new Map<string, never>() };
  const key = parseEndorsementKey(Buffer.from(area));
  const good = Buffer.from(certificate);
  const next = numbers(0x5151);
  const outcomes = { taken: 0, refused: 0 };
  for (let round = 0; round < mutations; round++) {
    const bytes = mutate(good, next);
    try {
      verifyEndorsement(key, [bytes], trust, new Date());
      outcomes.taken++;
    } catch (error) {
      if (!(error instanceof CertificateError || error instanceof BytesError))
        throw new Error(bytes.toString('hex'), { cause: error });
      outcomes.refused++;
    }
  }
  return outcomes;
}
