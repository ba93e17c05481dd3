import { createHmac, randomBytes, timingSafeEqual } from 'node:crypto';

/** What authenticators take without being told otherwise (RFC 6238, 4): HMAC-SHA-1, 6 digits, 30 seconds. */
const DIGITS = 6;
const STEP_SECONDS = 30;
/** Steps before and after the present one: for clocks that differ and people who type (RFC 6238, 5.2 and 6). */
const WINDOW = 1;
/** RFC 4226, 4: at least 16 bytes, 20 recommended. */
const SECRET_BYTES = 20;
const BASE32 = 'ABCDEFGHIJKLMNOPQRSTUVWXYZ234567';

/** A fresh secret for an authenticator. */
export function newTotpSecret(): Buffer {
  return randomBytes(SECRET_BYTES);
}

/** The code of a counter (HOTP; RFC 4226, 5.3). */
export function hotp(secret: Uint8Array, counter: number, digits = DIGITS): string {
  const message = Buffer.alloc(8);
  message.writeBigUInt64BE(BigInt(counter));
  const mac = createHmac('sha1', secret).update(message).digest();
  const offset = mac[mac.length - 1]! & 0x0f;
  return String((mac.readUInt32BE(offset) & 0x7fffffff) % 10 ** digits).padStart(digits, '0');
}

/**
 * The time step that a code is of (TOTP; RFC 6238, 4.2), among the present one and its neighbours; undefined for a wrong one. A code may be taken once:
 * whoever takes it remembers the step.
 */
export function stepOf(secret: Uint8Array, code: string, now: Date): number | undefined {
  const present = Math.floor(now.getTime() / 1000 / STEP_SECONDS);
  const shown = Buffer.from(code);
  let found: number | undefined;
  // All of them, whichever it is: the time tells nothing.
  for (let step = present - WINDOW; step <= present + WINDOW; step++) {
    const expected = Buffer.from(hotp(secret, step));
    if (shown.length === expected.length && timingSafeEqual(shown, expected)) found = step;
  }
  return found;
}

/** Base32 without padding (RFC 4648, 6), as authenticators take secrets. */
export function base32(bytes: Uint8Array): string {
  let bits = '';
  for (const byte of bytes) bits += byte.toString(2).padStart(8, '0');
  return (bits.match(/.{1,5}/g) ?? []).map((five) => BASE32[Number.parseInt(five.padEnd(5, '0'), 2)]).join('');
}

/** What a QR code for authenticators holds ("Key Uri Format"). A secret. */
export function totpUri(secret: Uint8Array, { issuer, account }: { issuer: string; account: string }): string {
  const label = `${encodeURIComponent(issuer)}:${encodeURIComponent(account)}`;
  return `otpauth://totp/${label}?secret=${base32(secret)}&issuer=${encodeURIComponent(issuer)}`;
}
