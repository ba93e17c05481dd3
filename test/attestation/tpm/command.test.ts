import {
  flushContext,
  listHandles,
  pcrExtend,
  pcrRead,
  pcrReset,
  quoteCommand,
} from '../../../attestation/tpm/command';
import { TPM_ALG } from '../../../attestation/tpm/constants';
import { QUOTED_PCRS } from '../../../attestation/tpm/pcr';

const selection = { hash: TPM_ALG.SHA256, pcrs: [...QUOTED_PCRS] };
const bytes = (...parts: string[]): string => parts.join('').replaceAll(' ', '');

test.each([
  [
    pcrReset(23),
    'TPM2_PCR_Reset',
    // Tag, size, code; handle; authorization: its size, TPM_RS_PW, no nonce, no attributes, no value.
    bytes('8002 0000001b 0000013d', '00000017', '00000009 40000009 0000 00 0000'),
  ],
  [
    pcrExtend(23, Buffer.alloc(32, 0xab)),
    'TPM2_PCR_Extend',
    bytes(
      '8002 00000041 00000182',
      '00000017',
      '00000009 40000009 0000 00 0000',
      // One digest, SHA-256.
      '00000001 000b',
      'ab'.repeat(32),
    ),
  ],
  [
    quoteCommand({
      handle: 0x81010010,
      auth: Buffer.from('0102', 'hex'),
      qualifyingData: Buffer.from('ff', 'hex'),
      selection,
    }),
    'TPM2_Quote',
    bytes(
      '8002 0000002c 00000158',
      '81010010',
      '0000000b 40000009 0000 00 0002 0102',
      '0001 ff',
      // The key's own scheme; one selection: SHA-256, three octets, PCRs 0 to 15 and 23.
      '0010',
      '00000001 000b 03 ffff80',
    ),
  ],
  [pcrRead(selection), 'TPM2_PCR_Read', bytes('8001 00000014 0000017e', '00000001 000b 03 ffff80')],
  [listHandles('transient'), 'TPM2_GetCapability', bytes('8001 00000016 0000017a', '00000001 80000000 00000040')],
  [flushContext(0x80000001), 'TPM2_FlushContext', bytes('8001 0000000e 00000165', '80000001')],
])('the bytes of $1', (command, name, expected) => {
  expect(command.name).toBe(name);
  expect(command.bytes.toString('hex')).toBe(expected);
});
