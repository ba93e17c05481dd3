import { encryptAesCfb, encryptOaep, ephemeralEcdh, hash as digest, hmac, random } from '../crypto';
import { hashName, TPM_ALG } from './constants';
import { sized, u32 } from './encode';
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

/** The label of the seed's encryption; its closing zero is part of it for OAEP (Part 1, B.4) and put in by KDFe. */
const IDENTITY = 'IDENTITY';
/** A secret of enrolment is 32 bytes; TPM2B_DIGEST takes no more than the shortest name algorithm's digest. */
const MAX_SECRET_BYTES = 32;
/** Strength of the symmetric algorithm that goes with each name algorithm in the default templates. */
const AES_KEY_BITS = { sha256: 128, sha384: 256 } as const;
const DIGEST_BYTES = { sha256: 32, sha384: 48 } as const;

type NameHash = keyof typeof AES_KEY_BITS;

/**
 * TPM2_MakeCredential (Part 1, 24; Part 3, 12.6) without a TPM: encrypts `secret` so that only the TPM that holds the private part of
 * `ek` can open it, and only while it also holds the object of the name `akName`. All hashing is by the name algorithm of `ek`.
 * @param ek storage key: RSA or ECC with SHA-256 and AES-128-CFB, or with SHA-384 and AES-256-CFB, as the TCG's default templates have it
 * @param akName Name of the object (2 bytes of algorithm, then the digest)
 * @param secret 1 to 32 bytes
 * @throws TpmError tpm.unsupported for another kind of key, tpm.invalid for another length
 */
export function makeCredential(ek: TpmPublic, akName: Uint8Array, secret: Uint8Array): Credential {
  const hash = storageHash(ek);
  if (secret.length === 0 || secret.length > MAX_SECRET_BYTES) {
    throw new TpmError('tpm.invalid', `expected a secret of 1 to ${MAX_SECRET_BYTES} bytes, got ${secret.length}`);
  }
  const { seed, encryptedSecret } = ek.type === 'rsa' ? rsaSeed(hash, ek) : eccSeed(hash, ek);

  const encIdentity = encryptAesCfb(kdfa(hash, seed, 'STORAGE', akName, AES_KEY_BITS[hash]), sized(secret));
  const hmacKey = kdfa(hash, seed, 'INTEGRITY', Buffer.alloc(0), DIGEST_BYTES[hash] * 8);
  const integrity = hmac(hash, hmacKey, encIdentity, akName);
  return { credentialBlob: sized(Buffer.concat([sized(integrity), encIdentity])), encryptedSecret };
}

/** @throws TpmError tpm.unsupported */
function storageHash({ nameAlgorithm, symmetric }: TpmPublic): NameHash {
  const name = hashName(nameAlgorithm);
  if (
    (name !== 'sha256' && name !== 'sha384') ||
    symmetric?.algorithm !== TPM_ALG.AES ||
    symmetric.keyBits !== AES_KEY_BITS[name] ||
    symmetric.mode !== TPM_ALG.CFB
  ) {
    throw new TpmError(
      'tpm.unsupported',
      'expected a storage key with SHA-256 and AES-128-CFB, or SHA-384 and AES-256-CFB, got another one',
    );
  }
  return name;
}

/** The seed is chosen here and sent under OAEP (Part 1, B.10.4). */
function rsaSeed(hash: NameHash, ek: RsaPublic): { seed: Buffer; encryptedSecret: Buffer } {
  const seed = random(DIGEST_BYTES[hash]);
  const label = Buffer.from(`${IDENTITY}\0`, 'latin1');
  return { seed, encryptedSecret: sized(encryptOaep(publicKeyObject(ek), hash, label, seed)) };
}

/** The seed comes from one-pass ECDH with a key made for this one use (Part 1, C.6.1, C.6.4). */
function eccSeed(hash: NameHash, ek: EccPublic): { seed: Buffer; encryptedSecret: Buffer } {
  // Refuses a point that isn't on the curve.
  publicKeyObject(ek);
  const { z, x, y } = ephemeralEcdh(ek.curve, ek);
  return { seed: kdfe(hash, z, IDENTITY, x, ek.x), encryptedSecret: sized(Buffer.concat([sized(x), sized(y)])) };
}

/** KDFa (Part 1, 11.4.10.2): SP 800-108 in counter mode, for one block at most. contextV is empty in what uses it here. */
function kdfa(hash: NameHash, key: Buffer, label: string, contextU: Uint8Array, bits: number): Buffer {
  const block = hmac(hash, key, u32(1), Buffer.from(`${label}\0`, 'latin1'), contextU, u32(bits));
  return block.subarray(0, bits / 8);
}

/** KDFe (Part 1, 11.4.10.3), for one block: SP 800-56A. */
function kdfe(hash: NameHash, z: Buffer, label: string, partyU: Buffer, partyV: Buffer): Buffer {
  return digest(hash, u32(1), z, Buffer.from(`${label}\0`, 'latin1'), partyU, partyV);
}
