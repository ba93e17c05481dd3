import { isOutOfSlots, isWorthAnotherTry, responseCodeName } from '../../../attestation/tpm/response-code';

test.each([
  [0x100, 'TPM_RC_INITIALIZE'],
  [0x101, 'TPM_RC_FAILURE'],
  [0x14a, 'TPM_RC_NV_UNINITIALIZED'],
  [0x902, 'TPM_RC_OBJECT_MEMORY'],
  [0x908, 'TPM_RC_YIELDED'],
  [0x909, 'TPM_RC_CANCELED'],
  [0x90a, 'TPM_RC_TESTING'],
  [0x918, 'TPM_RC_REFERENCE_S0'],
  [0x920, 'TPM_RC_NV_RATE'],
  [0x921, 'TPM_RC_LOCKOUT'],
  [0x922, 'TPM_RC_RETRY'],
  [0x923, 'TPM_RC_NV_UNAVAILABLE'],
  [0x18b, 'TPM_RC_HANDLE (handle 1)'],
  [0x98e, 'TPM_RC_AUTH_FAIL (session 1)'],
  [0x9a2, 'TPM_RC_BAD_AUTH (session 1)'],
  [0x2c4, 'TPM_RC_VALUE (parameter 2)'],
  [0x095, 'TPM_RC_SIZE'],
  // A maker's, an unknown one of each format, one of TPM 1.2.
  [0x501, 'response code 0x501'],
  [0x97e, 'response code 0x97e'],
  [0x0bf, 'response code 0x0bf'],
  [0x01e, 'response code 0x01e'],
])('%i is %s', (code, name) => {
  expect(responseCodeName(code)).toBe(name);
});

test('another try is worth while for what passes by itself and for nothing else', () => {
  const codes = Array.from({ length: 0x1000 }, (_, code) => code);
  expect(codes.filter(isWorthAnotherTry).map(responseCodeName)).toEqual([
    'TPM_RC_YIELDED',
    'TPM_RC_TESTING',
    'TPM_RC_NV_RATE',
    'TPM_RC_RETRY',
    'TPM_RC_NV_UNAVAILABLE',
  ]);
  expect(codes.filter(isOutOfSlots).map(responseCodeName)).toEqual([
    'TPM_RC_OBJECT_MEMORY',
    'TPM_RC_SESSION_MEMORY',
    'TPM_RC_SESSION_HANDLES',
    'TPM_RC_OBJECT_HANDLES',
  ]);
});
