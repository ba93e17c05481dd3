/** The primes up to 167: the first 39. */
const PRIMES = Array.from({ length: 166 }, (_, at) => at + 2).filter(
  (n) => !Array.from({ length: n - 2 }, (_, at) => at + 2).some((d) => n % d === 0),
);

/** A modulus of 2,048 bits as two primes of ROCA's generator multiply to: a power of 65537 modulo the product of the first 39 primes. */
export function rocaModulus(power: number): Buffer {
  const product = PRIMES.reduce((all, prime) => all * BigInt(prime), 1n);
  let residue = 1n;
  for (let at = 0; at < power; at++) residue = (residue * 65537n) % product;
  const factor = (1n << 2047n) / product + 12345n;
  return Buffer.from((factor * product + residue).toString(16), 'hex');
}

/** SubjectPublicKeyInfo of an RSA key that nobody made: any odd number as modulus (big-endian, highest bit set). */
export function rsaSpki(modulus: Buffer, exponent = 65537): Buffer {
  const hex = exponent.toString(16);
  const key = der(
    0x30,
    der(0x02, Buffer.concat([Buffer.from([0]), modulus])),
    der(0x02, Buffer.from(hex.padStart(hex.length + (hex.length % 2), '0'), 'hex')),
  );
  return der(0x30, Buffer.from('300d06092a864886f70d0101010500', 'hex'), der(0x03, Buffer.from([0]), key));
}

function der(tag: number, ...content: Buffer[]): Buffer {
  const body = Buffer.concat(content);
  const { length } = body;
  const head = length < 0x80 ? [length] : length < 0x100 ? [0x81, length] : [0x82, length >> 8, length & 0xff];
  return Buffer.concat([Buffer.from([tag, ...head]), body]);
}
