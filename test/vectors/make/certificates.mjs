import { der } from './bytes.mjs';
import { sha256, signDer } from './keys.mjs';

const ECDSA_SHA256 = der.sequence(der.oid('1.2.840.10045.4.3.2'));
const commonName = (text) => der.sequence(der.set(der.sequence(der.oid('2.5.4.3'), der.utf8(text))));
const extension = (oid, value, critical = false) =>
  der.sequence(der.oid(oid), ...(critical ? [der.boolean(true)] : []), der.octets(value));

/**
 * An X.509 certificate (RFC 5280, 4.1), DER.
 * @param issuer { name, key }, the certificate's own for a root
 * @param times Unix seconds
 */
export function certificate({ name, key, issuer = { name, key }, from, to, ca = false, uri, usage, details, tpmName }) {
  const keyUsage = ca ? Buffer.from([0x06]) : Buffer.from([0x80]);
  const extensions = der.sequence(
    extension('2.5.29.19', ca ? der.sequence(der.boolean(true)) : der.sequence(), true),
    extension('2.5.29.15', der.bits(keyUsage, ca ? 1 : 7), true),
    ...(usage ? [extension('2.5.29.37', der.sequence(der.oid(usage)))] : []),
    ...(uri ? [extension('2.5.29.17', der.sequence(der.name(6, uri)))] : []),
    ...(tpmName ? [extension('1.3.6.1.4.1.32473.1.2', der.octets(tpmName))] : []),
    ...(details ? [extension('1.3.6.1.4.1.32473.1.1', der.utf8(JSON.stringify(details)))] : []),
  );
  const serial = Buffer.concat([Buffer.from([0x40]), sha256(name, key.spki).subarray(0, 15)]);
  const signed = der.sequence(
    der.context(0, der.integer(Buffer.from([2]))),
    der.integer(serial),
    ECDSA_SHA256,
    commonName(issuer.name),
    der.sequence(der.time(from), der.time(to)),
    commonName(name),
    key.spki,
    der.context(3, extensions),
  );
  return der.sequence(signed, ECDSA_SHA256, der.bits(signDer(issuer.key, signed)));
}

export const pem = (bytes) =>
  `-----BEGIN CERTIFICATE-----\n${bytes.toString('base64').replace(/(.{64})(?=.)/g, '$1\n')}\n-----END CERTIFICATE-----\n`;
