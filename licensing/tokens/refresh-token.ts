import { randomBytes } from 'node:crypto';
import { sha256 } from '../../attestation/crypto';

/** Tells what it is to whoever finds one, programs that look for leaked secrets included. */
const PREFIX = 'slsr_';
const FORM = /^slsr_[A-Za-z0-9_-]{43}$/;

/** A fresh refresh token: 32 random bytes, base64url. A secret, and nothing can be read from it. */
export function newRefreshToken(): string {
  return PREFIX + randomBytes(32).toString('base64url');
}

/** What is stored of a refresh token, 32 bytes: 256 random bits need no slow hash. Undefined for what can be none. */
export function refreshTokenHash(token: string): Buffer | undefined {
  return FORM.test(token) ? sha256(token) : undefined;
}
