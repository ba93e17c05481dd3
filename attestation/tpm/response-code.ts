/** TPM_RC (Part 2, 6.6): what each number is called, and which ones ask for another try. */

/** Format zero, RC_VER1: the TPM has an error, whatever the command's parts are. */
const ERRORS: Readonly<Record<number, string>> = {
  0x000: 'INITIALIZE',
  0x001: 'FAILURE',
  0x003: 'SEQUENCE',
  0x00b: 'PRIVATE',
  0x019: 'HMAC',
  0x020: 'DISABLED',
  0x021: 'EXCLUSIVE',
  0x024: 'AUTH_TYPE',
  0x025: 'AUTH_MISSING',
  0x026: 'POLICY',
  0x027: 'PCR',
  0x028: 'PCR_CHANGED',
  0x02d: 'UPGRADE',
  0x02e: 'TOO_MANY_CONTEXTS',
  0x02f: 'AUTH_UNAVAILABLE',
  0x030: 'REBOOT',
  0x031: 'UNBALANCED',
  0x042: 'COMMAND_SIZE',
  0x043: 'COMMAND_CODE',
  0x044: 'AUTHSIZE',
  0x045: 'AUTH_CONTEXT',
  0x046: 'NV_RANGE',
  0x047: 'NV_SIZE',
  0x048: 'NV_LOCKED',
  0x049: 'NV_AUTHORIZATION',
  0x04a: 'NV_UNINITIALIZED',
  0x04b: 'NV_SPACE',
  0x04c: 'NV_DEFINED',
  0x050: 'BAD_CONTEXT',
  0x051: 'CPHASH',
  0x052: 'PARENT',
  0x053: 'NEEDS_TEST',
  0x054: 'NO_RESULT',
  0x055: 'SENSITIVE',
};

/** Format zero, RC_WARN: the command may be right, and something stands in its way. */
const WARNINGS: Readonly<Record<number, string>> = {
  0x001: 'CONTEXT_GAP',
  0x002: 'OBJECT_MEMORY',
  0x003: 'SESSION_MEMORY',
  0x004: 'MEMORY',
  0x005: 'SESSION_HANDLES',
  0x006: 'OBJECT_HANDLES',
  0x007: 'LOCALITY',
  0x008: 'YIELDED',
  0x009: 'CANCELED',
  0x00a: 'TESTING',
  0x010: 'REFERENCE_H0',
  0x011: 'REFERENCE_H1',
  0x012: 'REFERENCE_H2',
  0x013: 'REFERENCE_H3',
  0x014: 'REFERENCE_H4',
  0x015: 'REFERENCE_H5',
  0x016: 'REFERENCE_H6',
  0x018: 'REFERENCE_S0',
  0x019: 'REFERENCE_S1',
  0x01a: 'REFERENCE_S2',
  0x01b: 'REFERENCE_S3',
  0x01c: 'REFERENCE_S4',
  0x01d: 'REFERENCE_S5',
  0x01e: 'REFERENCE_S6',
  0x020: 'NV_RATE',
  0x021: 'LOCKOUT',
  0x022: 'RETRY',
  0x023: 'NV_UNAVAILABLE',
};

/** Format one, RC_FMT1: about a handle, a session or a parameter, whose number is in the code too. */
const ABOUT_A_PART: Readonly<Record<number, string>> = {
  0x01: 'ASYMMETRIC',
  0x02: 'ATTRIBUTES',
  0x03: 'HASH',
  0x04: 'VALUE',
  0x05: 'HIERARCHY',
  0x07: 'KEY_SIZE',
  0x08: 'MGF',
  0x09: 'MODE',
  0x0a: 'TYPE',
  0x0b: 'HANDLE',
  0x0c: 'KDF',
  0x0d: 'RANGE',
  0x0e: 'AUTH_FAIL',
  0x0f: 'NONCE',
  0x10: 'PP',
  0x12: 'SCHEME',
  0x15: 'SIZE',
  0x16: 'SYMMETRIC',
  0x17: 'TAG',
  0x18: 'SELECTOR',
  0x1a: 'INSUFFICIENT',
  0x1b: 'SIGNATURE',
  0x1c: 'KEY',
  0x1d: 'POLICY_FAIL',
  0x1f: 'INTEGRITY',
  0x20: 'TICKET',
  0x21: 'RESERVED_BITS',
  0x22: 'BAD_AUTH',
  0x23: 'EXPIRED',
  0x24: 'POLICY_CC',
  0x25: 'BINDING',
  0x26: 'CURVE',
  0x27: 'ECC_POINT',
};

const FORMAT_ONE = 0x080;
const VERSION_2 = 0x100;
const VENDOR = 0x400;
const WARNING = 0x800;
const PARAMETER = 0x040;
const SESSION = 0x800;

/**
 * TPM_RC_RETRY, or with the part that a code is about, TPM_RC_AUTH_FAIL (session 1). A maker's own codes and unknown ones are their number.
 */
export function responseCodeName(code: number): string {
  const number = `0x${code.toString(16).padStart(3, '0')}`;
  if ((code & FORMAT_ONE) !== 0) {
    const name = ABOUT_A_PART[code & 0x3f];
    return name === undefined ? `response code ${number}` : `TPM_RC_${name}${partOf(code)}`;
  }
  if ((code & VERSION_2) === 0 || (code & VENDOR) !== 0) return `response code ${number}`;
  const name = ((code & WARNING) === 0 ? ERRORS : WARNINGS)[code & 0x7f];
  return name === undefined ? `response code ${number}` : `TPM_RC_${name}`;
}

/** Part 2, 6.6.2: P is bit 6, N the four bits from 8 on, of which the upper tells a session from a handle. */
function partOf(code: number): string {
  const number = (code >> 8) & ((code & PARAMETER) === 0 ? 0x7 : 0xf);
  if (number === 0) return '';
  if ((code & PARAMETER) !== 0) return ` (parameter ${number})`;
  return (code & SESSION) !== 0 ? ` (session ${number})` : ` (handle ${number})`;
}

/**
 * The warnings after which the same command may be sent again (Part 2, 6.6.3): YIELDED (interrupted, went forward), TESTING (a self-test runs), NV_RATE
 * (slowed down, against wear), RETRY (not started), NV_UNAVAILABLE (not accessible now). LOCKOUT isn't among them: it lasts for minutes or hours, and
 * each try may make it longer. Nor is CANCELED: somebody wanted it. Nor are errors: FAILURE lasts until a reset.
 */
const WORTH_ANOTHER_TRY: readonly number[] = [0x908, 0x90a, 0x920, 0x922, 0x923];

export function isWorthAnotherTry(code: number): boolean {
  return WORTH_ANOTHER_TRY.includes(code);
}

/** OBJECT_MEMORY, SESSION_MEMORY, SESSION_HANDLES, OBJECT_HANDLES: there is room once what is loaded has been flushed. */
export function isOutOfSlots(code: number): boolean {
  return [0x902, 0x903, 0x905, 0x906].includes(code);
}
