import {
  FIRST_HANDLE,
  TPM_ALG,
  TPM_CAP_HANDLES,
  TPM_CC,
  TPM_RS_PW,
  TPM_ST_NO_SESSIONS,
  TPM_ST_SESSIONS,
} from './constants';
import { sized, u16, u32 } from './encode';
import { encodePcrSelection } from './pcr';
import type { PcrSelection } from './pcr';

/** A command as it goes to the TPM (Part 1, 18): its name for messages, and its bytes. */
export interface TpmCommand {
  /** Such as TPM2_Quote. */
  name: string;
  bytes: Buffer;
}

type CommandName = keyof typeof TPM_CC;

/** Handles that TPM2_GetCapability is asked for at a time: far more than a TPM holds of one kind. */
const MOST_HANDLES = 64;
const NOTHING = Buffer.alloc(0);

/** TPM2_PCR_Reset (Part 3, 22.8). */
export function pcrReset(pcr: number): TpmCommand {
  return authorized('PCR_Reset', pcr, NOTHING);
}

/** TPM2_PCR_Extend (Part 3, 22.2) of the SHA-256 bank alone, by 32 bytes. */
export function pcrExtend(pcr: number, sha256: Uint8Array): TpmCommand {
  return authorized('PCR_Extend', pcr, NOTHING, u32(1), u16(TPM_ALG.SHA256), sha256);
}

/** TPM2_Quote (Part 3, 18.4), signed by the scheme that the key has. */
export function quoteCommand(options: {
  handle: number;
  /** The key's authorization value. */
  auth: Uint8Array;
  qualifyingData: Uint8Array;
  selection: PcrSelection;
}): TpmCommand {
  const { handle, auth, qualifyingData, selection } = options;
  return authorized('Quote', handle, auth, sized(qualifyingData), u16(TPM_ALG.NULL), encodePcrSelection(selection));
}

/** TPM2_PCR_Read (Part 3, 22.4). */
export function pcrRead(selection: PcrSelection): TpmCommand {
  return plain('PCR_Read', encodePcrSelection(selection));
}

/** TPM2_GetCapability (Part 3, 30.2) of the handles of one range. */
export function listHandles(range: keyof typeof FIRST_HANDLE): TpmCommand {
  return plain('GetCapability', u32(TPM_CAP_HANDLES), u32(FIRST_HANDLE[range]), u32(MOST_HANDLES));
}

/** TPM2_FlushContext (Part 3, 28.4): its handle is a parameter. */
export function flushContext(handle: number): TpmCommand {
  return plain('FlushContext', u32(handle));
}

function plain(name: CommandName, ...parameters: Uint8Array[]): TpmCommand {
  return command(TPM_ST_NO_SESSIONS, name, parameters);
}

/** With one handle, authorized by its value (TPM_RS_PW, Part 1, 19.4): no nonce, no attributes, and no session that would have to be flushed. */
function authorized(name: CommandName, handle: number, auth: Uint8Array, ...parameters: Uint8Array[]): TpmCommand {
  const area = Buffer.concat([u32(TPM_RS_PW), u16(0), Buffer.from([0]), sized(auth)]);
  return command(TPM_ST_SESSIONS, name, [u32(handle), u32(area.length), area, ...parameters]);
}

/** Tag, size, code (Part 1, 18.3), and what follows them. */
function command(tag: number, name: CommandName, rest: readonly Uint8Array[]): TpmCommand {
  const body = Buffer.concat(rest);
  const header = Buffer.concat([u16(tag), u32(10 + body.length), u32(TPM_CC[name])]);
  return { name: `TPM2_${name}`, bytes: Buffer.concat([header, body]) };
}
