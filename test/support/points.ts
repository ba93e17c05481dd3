import { ECDH } from 'node:crypto';
import { DER, encodeDer } from '../../attestation/bytes/der';
import { encodeOid } from './maker-certificate';

/** SubjectPublicKeyInfo of an EC key with its point in another form (SEC 1, 2.3.3; X9.62 for the hybrid one). */
export function encodePoint(
  spki: Buffer,
  curve: string,
  oid: string,
  form: 'compressed' | 'hybrid' | 'uncompressed',
): Buffer {
  const size = { prime256v1: 65, secp384r1: 97, secp521r1: 133 }[curve] ?? 0;
  const point = ECDH.convertKey(spki.subarray(-size), curve, undefined, undefined, form) as Buffer;
  const algorithm = encodeDer(
    DER.SEQUENCE,
    encodeDer(DER.OID, encodeOid('1.2.840.10045.2.1')),
    encodeDer(DER.OID, encodeOid(oid)),
  );
  return encodeDer(DER.SEQUENCE, algorithm, encodeDer(DER.BIT_STRING, Buffer.from([0]), point));
}
