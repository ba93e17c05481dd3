import { X509Certificate } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { DER, DerReader } from '../../attestation/bytes/der';
import { parseEndorsementKey } from '../../attestation/tpm/endorsement';
import { publicKeyObject } from '../../attestation/tpm/public';
import type { TpmPublic } from '../../attestation/tpm/public';
import type { AttestationKey } from './attestation-key';
import { TpmCommandError } from './errors';
import { KEY_CREATION_MS } from './tools';
import type { TpmTools } from './tools';

export interface EndorsementKey {
  kind: 'rsa' | 'ecc';
  /** TPMT_PUBLIC of the default template. */
  public: TpmPublic;
  /** DER, leaf first; empty where the TPM has none. */
  certificates: Buffer[];
}

/** NV indexes of EK certificates for the templates L-1 and L-2 (TCG EK Credential Profile, 2.2.1.4), and of the chains that some makers store (2.2.1.5.2). */
const CERTIFICATE_INDEX = { rsa: '0x01c00002', ecc: '0x01c0000a' } as const;
const CHAIN_INDEXES = Array.from({ length: 8 }, (_, at) => `0x01c001${at.toString(16).padStart(2, '0')}`);
/** TPM_RC_HANDLE, TPM_RC_NV_UNINITIALIZED: nothing is there. */
const NOTHING = [0x18b, 0x14a];
/** File format of tpm2-tools for a credential: its magic and version, then the two structures. */
const CREDENTIAL_HEADER = Buffer.from('badcc0de00000001', 'hex');

/**
 * The TPM's endorsement key: the RSA one when it has a certificate, else the ECC one when that has, else the RSA one without.
 * @throws TpmCommandError
 */
export function readEndorsementKey(tools: TpmTools): Promise<EndorsementKey> {
  return tools.exclusive(async () => {
    for (const kind of ['rsa', 'ecc'] as const) {
      const certificate = await readCertificate(tools, CERTIFICATE_INDEX[kind]);
      if (certificate === undefined) continue;
      const key = await createEndorsementKey(tools, kind);
      // Of another template, then: nothing that this key could show for itself.
      if (!publicKeyObject(key).equals(new X509Certificate(certificate).publicKey)) continue;
      return { kind, public: key, certificates: [certificate, ...(await readChain(tools))] };
    }
    return { kind: 'rsa', public: await createEndorsementKey(tools, 'rsa'), certificates: [] };
  });
}

/**
 * TPM2_ActivateCredential: opens what was encrypted to the endorsement key and the attestation key's name.
 * @param credential credentialBlob and encryptedSecret with their sizes, as attestation/tpm/credential makes them
 * @throws TpmCommandError when it was made for other keys
 */
export function activateCredential(
  tools: TpmTools,
  keys: { ek: EndorsementKey; ak: AttestationKey },
  credential: { credentialBlob: Uint8Array; encryptedSecret: Uint8Array },
): Promise<Buffer> {
  return tools.exclusive(async () => {
    await createEndorsementKey(tools, keys.ek.kind);
    await writeFile(
      tools.file('credential'),
      Buffer.concat([CREDENTIAL_HEADER, credential.credentialBlob, credential.encryptedSecret]),
    );
    try {
      await tools.run('tpm2_startauthsession', ['-Q', '--policy-session', '-S', 'session.ctx']);
      await tools.run('tpm2_policysecret', ['-Q', '-S', 'session.ctx', '-c', 'e']);
      const use = ['-c', keys.ak.handle, '-p', keys.ak.auth, '-C', 'ek.ctx', '-P', 'session:session.ctx'];
      await tools.run('tpm2_activatecredential', ['-Q', ...use, '-i', 'credential', '-o', 'secret']);
      return await tools.read('secret');
    } finally {
      await tools.remove('secret');
      await tools.flush();
    }
  });
}

async function createEndorsementKey(tools: TpmTools, kind: 'rsa' | 'ecc'): Promise<TpmPublic> {
  await tools.flush();
  await tools.run('tpm2_createek', ['-Q', '-G', kind, '-c', 'ek.ctx', '-u', 'ek.public'], KEY_CREATION_MS);
  await tools.flush();
  return parseEndorsementKey((await tools.read('ek.public')).subarray(2));
}

/** One certificate; the index may be larger than it, filled up behind. */
async function readCertificate(tools: TpmTools, index: string): Promise<Buffer | undefined> {
  try {
    await tools.run('tpm2_nvread', ['-Q', index, '-o', 'nv']);
  } catch (error) {
    if (error instanceof TpmCommandError && NOTHING.includes(error.responseCode ?? 0)) return undefined;
    throw error;
  }
  return splitCertificates(await tools.read('nv'))[0];
}

/** Certificates of the maker's authorities, one index after another, cut anywhere between indexes. */
async function readChain(tools: TpmTools): Promise<Buffer[]> {
  const parts: Buffer[] = [];
  for (const index of CHAIN_INDEXES) {
    const there = await tools.run('tpm2_nvread', ['-Q', index, '-o', 'nv']).then(
      () => true,
      () => false,
    );
    if (!there) break;
    parts.push(await tools.read('nv'));
  }
  return splitCertificates(Buffer.concat(parts));
}

function splitCertificates(bytes: Buffer): Buffer[] {
  const certificates: Buffer[] = [];
  let rest = bytes;
  while (rest[0] === DER.SEQUENCE) {
    let content: Buffer;
    try {
      content = new DerReader(rest, 'EK certificate').expect(DER.SEQUENCE);
    } catch {
      break;
    }
    const length = content.byteOffset - rest.byteOffset + content.length;
    certificates.push(Buffer.from(rest.subarray(0, length)));
    rest = rest.subarray(length);
  }
  return certificates;
}
