/** The primes up to 167: their product divides the number that the broken generator used, for every key size. */
const PRIMES = [
  3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53, 59, 61, 67, 71, 73, 79, 83, 89, 97, 101, 103, 107, 109, 113,
  127, 131, 137, 139, 149, 151, 157, 163, 167,
];

/** For each prime, the residues that are powers of 65537 modulo it. */
const POWERS = PRIMES.map((prime) => {
  const residues = new Set<number>();
  for (let value = 1; !residues.has(value); value = (value * 65537) % prime) residues.add(value);
  return { prime, residues };
});

/**
 * Whether an RSA modulus bears the fingerprint of ROCA (CVE-2017-15361; Nemec and others, "The Return of Coppersmith's Attack", 2017, section 3):
 * the primes of the Infineon library were powers of 65537 modulo a product of small primes, so their product is one too, modulo each of them.
 * A sound modulus passes for one with probability of about 2^-28.
 * @param modulus big-endian
 */
export function isRocaModulus(modulus: Uint8Array): boolean {
  return POWERS.every(({ prime, residues }) => {
    let rest = 0;
    for (const byte of modulus) rest = (rest * 256 + byte) % prime;
    return residues.has(rest);
  });
}
