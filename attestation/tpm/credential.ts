import { encryptAesCfb, encryptOaep, ephemeralEcdh, hmac, random, sha256 } from '../crypto';
import { TPM_ALG } from './constants';
import { TpmError } from './errors';
import { publicKeyObject } from './public';
import type { EccPublic, RsaPublic, TpmPublic } from './public';

/** What TPM2_MakeCredential returns, each with its 16-bit size before it, as TPM2_ActivateCredential takes them. */
interface Credential {
  /** TPM2B_ID_OBJECT (Part 2, 12.4.3). */
  credentialBlob: Buffer;
  /** TPM2B_ENCRYPTED_SECRET (Part 2, 11.4.33). */
  encryptedSecret: Buffer;
}

/** SHA-256 is the name algorithm of every key that is taken here: seeds, keys and digests have its size. */
const DIGEST_BYTES = 32;
const AES_KEY_BITS = 128;
/** The label of the seed's encryption; its closing zero is part of it for OAEP (Part 1, B.4) and put in by KDFe. */
const IDENTITY = 'IDENTITY';

/**
 * TPM2_MakeCredential (Part 1, 24; Part 3, 12.6) without a TPM: encrypts `secret` so that only the TPM that holds the private part of
 * `ek` can open it, and only while it also holds the object of the name `akName`.
 * @param ek storage key, RSA-2048 or P-256, with SHA-256 and AES-128-CFB: the TCG's default templates
 * @param akName Name of the object (2 bytes of algorithm, 32 of digest)
 * @param secret 1 to 32 bytes
 * @throws TpmError tpm.unsupported for another kind of key, tpm.invalid for another length
 */
export function makeCredential(ek: TpmPublic, akName: Uint8Array, secret: Uint8Array): Credential {
  const { symmetric } = ek;
  if (
    ek.nameAlgorithm !== TPM_ALG.SHA256 ||
    symmetric?.algorithm !== TPM_ALG.AES ||
    symmetric.keyBits !== AES_KEY_BITS ||
    symmetric.mode !== TPM_ALG.CFB
  ) {
    throw new TpmError('tpm.unsupported', 'expected a storage key with SHA-256 and AES-128-CFB, got another one');
  }
  if (secret.length === 0 || secret.length > DIGEST_BYTES) {
    throw new TpmError('tpm.invalid', `expected a secret of 1 to ${DIGEST_BYTES} bytes, got ${secret.length}`);
  }
  const { seed, encryptedSecret } = ek.type === 'rsa' ? rsaSeed(ek) : eccSeed(ek);

  const encIdentity = encryptAesCfb(kdfa(seed, 'STORAGE', akName, AES_KEY_BITS), sized(secret));
  const hmacKey = kdfa(seed, 'INTEGRITY', Buffer.alloc(0), DIGEST_BYTES * 8);
  const integrity = hmac('sha256', hmacKey, encIdentity, akName);
  return { credentialBlob: sized(Buffer.concat([sized(integrity), encIdentity])), encryptedSecret };
}

/** The seed is chosen here and sent under OAEP (Part 1, B.10.4). */
function rsaSeed(ek: RsaPublic): { seed: Buffer; encryptedSecret: Buffer } {
  const seed = random(DIGEST_BYTES);
  const label = Buffer.from(`${IDENTITY}\0`, 'latin1');
  return { seed, encryptedSecret: sized(encryptOaep(publicKeyObject(ek), 'sha256', label, seed)) };
}

/** The seed comes from one-pass ECDH with a key made for this one use (Part 1, C.6.1, C.6.4). */
function eccSeed(ek: EccPublic): { seed: Buffer; encryptedSecret: Buffer } {
  if (ek.curve !== 'P-256') throw new TpmError('tpm.unsupported', `expected a key on P-256, got ${ek.curve}`);
  // Refuses a point that isn't on the curve.
  publicKeyObject(ek);
  const { z, x, y } = ephemeralEcdh(ek.curve, ek);
  return { seed: kdfe(z, IDENTITY, x, ek.x), encryptedSecret: sized(Buffer.concat([sized(x), sized(y)])) };
}

/** KDFa (Part 1, 11.4.10.2) with SHA-256: SP 800-108 in counter mode, for one block at most. contextV is empty in what uses it here. */
function kdfa(key: Buffer, label: string, contextU: Uint8Array, bits: number): Buffer {
  const block = hmac('sha256', key, uint32(1), Buffer.from(`${label}\0`, 'latin1'), contextU, uint32(bits));
  return block.subarray(0, bits / 8);
}

/** KDFe (Part 1, 11.4.10.3) with SHA-256, for one block: SP 800-56A. */
function kdfe(z: Buffer, label: string, partyU: Buffer, partyV: Buffer): Buffer {
  return sha256(uint32(1), z, Buffer.from(`${label}\0`, 'latin1'), partyU, partyV);
}

function uint32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
}

/** A TPM2B: 16-bit size, then the bytes. */
function sized(bytes: Uint8Array): Buffer {
  const size = Buffer.alloc(2);
  size.writeUInt16BE(bytes.length);
  return Buffer.concat([size, bytes]);
}
