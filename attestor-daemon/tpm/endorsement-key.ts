import { DER, DerReader } from '../../attestation/bytes/der';
import { readCertificateFields } from '../../attestation/certificates/fields';
import { importSpki, isSameKey } from '../../attestation/crypto';
import { ENDORSEMENT_TEMPLATES, parseEndorsementKey, POLICY_B_BRANCHES } from '../../attestation/tpm/endorsement';
import type { EndorsementTemplate } from '../../attestation/tpm/endorsement';
import { publicKeyObject } from '../../attestation/tpm/public';
import type { TpmPublic } from '../../attestation/tpm/public';
import type { AttestationKey } from './attestation-key';
import { TpmCommandError } from './errors';
import { asHierarchy } from './explain';
import { KEY_CREATION_MS } from './tools';
import type { TpmTools } from './tools';

export interface EndorsementKey {
  template: EndorsementTemplate;
  /** TPMT_PUBLIC of the template. */
  public: TpmPublic;
  /** DER, leaf first; empty where the TPM has none. */
  certificates: Buffer[];
}

/** Where some makers store the authorities between the certificate and their root (TCG EK Credential Profile, 2.2.1.5.2). */
const CHAIN_INDEXES = Array.from({ length: 8 }, (_, at) => `0x01c001${at.toString(16).padStart(2, '0')}`);
/** TPM_RC_HANDLE, TPM_RC_NV_UNINITIALIZED: nothing is there. */
const NOTHING = [0x18b, 0x14a];
/** File format of tpm2-tools for a credential: its magic and version, then the two structures. */
const CREDENTIAL_HEADER = Buffer.from('badcc0de00000001', 'hex');

/** Of the low range's RSA key, which every TPM can make. */
const DEFAULT_TEMPLATE = ENDORSEMENT_TEMPLATES[0] as EndorsementTemplate;

/**
 * The TPM's endorsement key: of the first template whose key has a certificate; else the low range's RSA key, without one.
 * @throws TpmCommandError
 */
export function readEndorsementKey(tools: TpmTools): Promise<EndorsementKey> {
  return tools.exclusive(async () => {
    for (const template of ENDORSEMENT_TEMPLATES) {
      const certificate = await readCertificate(tools, hexIndex(template.certificateIndex));
      if (certificate === undefined) continue;
      const key = await createEndorsementKey(tools, template);
      // Of another template, then: nothing that this key could show for itself.
      if (!isCertified(key, certificate)) continue;
      return { template, public: key, certificates: [certificate, ...(await readChain(tools))] };
    }
    return {
      template: DEFAULT_TEMPLATE,
      public: await createEndorsementKey(tools, DEFAULT_TEMPLATE),
      certificates: [],
    };
  });
}

/** Whether the certificate is of this key. One that can't be read is for enrol to judge, which says what is wrong with it. */
function isCertified(key: TpmPublic, certificate: Buffer): boolean {
  try {
    return isSameKey(publicKeyObject(key), importSpki(readCertificateFields(certificate, 'maker').spki));
  } catch {
    return true;
  }
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
    await createEndorsementKey(tools, keys.ek.template);
    await tools.write(
      'credential',
      Buffer.concat([CREDENTIAL_HEADER, credential.credentialBlob, credential.encryptedSecret]),
    );
    try {
      await startPolicySession(tools, keys.ek.template);
      const use = ['-c', keys.ak.handle, '-p', `file:${keys.ak.authFile}`, '-C', 'ek.ctx', '-P', 'session:session.ctx'];
      await tools.run('tpm2_activatecredential', ['-Q', ...use, '-i', 'credential', '-o', 'secret']);
      return await tools.read('secret');
    } finally {
      await tools.remove('secret');
      await tools.flush();
    }
  });
}

/** Key, name algorithm and attributes of the high range's templates, as tpm2_createprimary takes them; the low range has a tool of its own. */
const ALGORITHMS: Record<EndorsementTemplate['key'], string> = {
  'RSA 2048': 'rsa2048:null:aes128cfb',
  'RSA 3072': 'rsa3072:null:aes256cfb',
  'ECC P-256': 'ecc256:aes128cfb',
  'ECC P-384': 'ecc384:aes256cfb',
};
const ATTRIBUTES = 'fixedtpm|fixedparent|sensitivedataorigin|userwithauth|adminwithpolicy|restricted|decrypt';

function hierarchyAuth({ auth: { endorsement } }: TpmTools): string[] {
  return endorsement === undefined ? [] : ['-P', endorsement];
}

async function createEndorsementKey(tools: TpmTools, template: EndorsementTemplate): Promise<TpmPublic> {
  await tools.flush();
  if (template.policy === 'A') {
    const kind = template.key === 'RSA 2048' ? 'rsa' : 'ecc';
    const args = ['-Q', '-G', kind, ...hierarchyAuth(tools), '-c', 'ek.ctx', '-u', 'ek.public'];
    await asHierarchy('endorsement', tools.auth, () => tools.run('tpm2_createek', args, KEY_CREATION_MS));
    await tools.flush();
    return parseEndorsementKey((await tools.read('ek.public')).subarray(2));
  }
  await tools.write('ek.policy', template.authPolicy);
  const key = ['-g', template.nameAlgorithm, '-G', ALGORITHMS[template.key], '-a', ATTRIBUTES, '-L', 'ek.policy'];
  const args = ['-Q', '-C', 'e', ...hierarchyAuth(tools), ...key, '-c', 'ek.ctx'];
  await asHierarchy('endorsement', tools.auth, () => tools.run('tpm2_createprimary', args, KEY_CREATION_MS));
  await tools.flush();
  await tools.run('tpm2_readpublic', ['-Q', '-c', 'ek.ctx', '-f', 'tpmt', '-o', 'ek.public']);
  await tools.flush();
  return parseEndorsementKey(await tools.read('ek.public'));
}

/** A session that satisfies the template's policy: the endorsement hierarchy's authorization, as one branch of two where the policy is B. */
async function startPolicySession(tools: TpmTools, { policy, nameAlgorithm }: EndorsementTemplate): Promise<void> {
  await tools.run('tpm2_startauthsession', ['-Q', '--policy-session', '-g', nameAlgorithm, '-S', 'session.ctx']);
  const { endorsement } = tools.auth;
  const secret = ['-Q', '-S', 'session.ctx', '-c', 'e', ...(endorsement === undefined ? [] : [endorsement])];
  await asHierarchy('endorsement', tools.auth, () => tools.run('tpm2_policysecret', secret));
  if (policy === 'A') return;
  const branches = POLICY_B_BRANCHES[nameAlgorithm].map((digest, at) => ({ file: `branch.${at}`, digest }));
  for (const { file, digest } of branches) await tools.write(file, Buffer.from(digest, 'hex'));
  const list = `${nameAlgorithm}:${branches.map(({ file }) => file).join(',')}`;
  await tools.run('tpm2_policyor', ['-Q', '-S', 'session.ctx', '-l', list]);
}

function hexIndex(index: number): string {
  return `0x${index.toString(16).padStart(8, '0')}`;
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
