import { randomBytes } from 'node:crypto';
import { sha256 } from '../../attestation/crypto';
import { base32 } from './totp';

/** How many there are at once. */
const RECOVERY_CODES = 10;
/** 80 bits: nobody guesses one, so tries need no limit and hashes no work. */
const BYTES = 10;
const FORM = /^[a-z2-7]{16}$/;

/** Fresh recovery codes: xxxx-xxxx-xxxx-xxxx. Secrets, each good once. */
export function newRecoveryCodes(): string[] {
  return Array.from({ length: RECOVERY_CODES }, () =>
    base32(randomBytes(BYTES)).toLowerCase().match(/.{4}/g)!.join('-'),
  );
}

/** What is stored of a recovery code, however it is typed; undefined for a text that can be none. */
export function recoveryCodeHash(text: string): Buffer | undefined {
  const code = text.toLowerCase().replace(/[\s-]/g, '');
  return FORM.test(code) ? sha256(code) : undefined;
}
