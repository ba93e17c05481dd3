import { createHash } from 'node:crypto';
import { DIGEST_SIZES, EVENT_TYPE } from '../../attestation/tpm/event-log/constants';
import { TPM_ALG } from '../../attestation/tpm/constants';

/** An event to be written into a log. */
export interface EventInput {
  pcr: number;
  type: number;
  data: Buffer;
  /** What is measured, when it isn't the data: its SHA-256 and SHA-1 go into the log. */
  measured?: Buffer;
}

export interface LogOptions {
  algorithms?: { id: number; size: number }[];
  signature?: string;
  headerType?: number;
  headerPcr?: number;
  vendorInfo?: Buffer;
  /** Instead of the length of `vendorInfo` and itself. */
  vendorData?: Buffer;
  /** Digests of each event, instead of one for each algorithm. */
  digests?: (event: EventInput) => [number, Buffer][];
}

export const u16le = (value: number): Buffer => {
  const bytes = Buffer.alloc(2);
  bytes.writeUInt16LE(value);
  return bytes;
};
export const u32le = (value: number): Buffer => {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value);
  return bytes;
};
export const u64le = (value: bigint): Buffer => {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64LE(value);
  return bytes;
};
export const utf16 = (text: string): Buffer => Buffer.from(`${text}\0`, 'utf16le');

const NODE_HASHES = new Map<number, string>([
  [TPM_ALG.SHA1, 'sha1'],
  [TPM_ALG.SHA256, 'sha256'],
  [TPM_ALG.SHA384, 'sha384'],
]);

export function digestOf(algorithm: number, event: EventInput): Buffer {
  if (event.type === EVENT_TYPE.EV_NO_ACTION) return Buffer.alloc(DIGEST_SIZES.get(algorithm) ?? 0);
  return createHash(NODE_HASHES.get(algorithm) ?? '')
    .update(event.measured ?? event.data)
    .digest();
}

/** A crypto-agile log (PFP 10.2): as firmware writes it, but for what the options say. */
export function encodeEventLog(events: readonly EventInput[], options: LogOptions = {}): Buffer {
  const algorithms = options.algorithms ?? [
    { id: TPM_ALG.SHA1, size: 20 },
    { id: TPM_ALG.SHA256, size: 32 },
  ];
  const vendorInfo = options.vendorInfo ?? Buffer.alloc(0);
  const specId = Buffer.concat([
    Buffer.from(`${options.signature ?? 'Spec ID Event03'}\0`, 'latin1'),
    u32le(0),
    Buffer.from([0, 2, 2, 2]),
    u32le(algorithms.length),
    ...algorithms.flatMap(({ id, size }) => [u16le(id), u16le(size)]),
    options.vendorData ?? Buffer.concat([Buffer.from([vendorInfo.length]), vendorInfo]),
  ]);
  const digests =
    options.digests ?? ((event) => algorithms.map(({ id }): [number, Buffer] => [id, digestOf(id, event)]));
  return Buffer.concat([
    encodeSha1Event({ pcr: options.headerPcr ?? 0, type: options.headerType ?? EVENT_TYPE.EV_NO_ACTION, data: specId }),
    ...events.flatMap((event) => {
      const values = digests(event);
      return [
        u32le(event.pcr),
        u32le(event.type),
        u32le(values.length),
        ...values.flatMap(([id, digest]) => [u16le(id), digest]),
        u32le(event.data.length),
        event.data,
      ];
    }),
  ]);
}

/** TCG_PCClientPCREvent: the Spec ID event, and all events of logs in the old form. */
export function encodeSha1Event(event: EventInput): Buffer {
  return Buffer.concat([
    u32le(event.pcr),
    u32le(event.type),
    digestOf(TPM_ALG.SHA1, event),
    u32le(event.data.length),
    event.data,
  ]);
}

export function startupLocalityEvent(locality: number): EventInput {
  return {
    pcr: 0,
    type: EVENT_TYPE.EV_NO_ACTION,
    data: Buffer.concat([Buffer.from('StartupLocality\0'), Buffer.from([locality])]),
  };
}

/** EFI_GLOBAL_VARIABLE (UEFI 2.10, 3.3). */
export const GLOBAL_VARIABLE = Buffer.from('61dfe48bca93d211aa0d00e098032b8c', 'hex');

export function variableEvent(pcr: number, type: number, name: string, value: Buffer): EventInput {
  const text = Buffer.from(name, 'utf16le');
  return {
    pcr,
    type,
    data: Buffer.concat([GLOBAL_VARIABLE, u64le(BigInt(name.length)), u64le(BigInt(value.length)), text, value]),
  };
}

export function devicePathNode(type: number, subType: number, content: Buffer): Buffer {
  return Buffer.concat([Buffer.from([type, subType]), u16le(4 + content.length), content]);
}

/** A hard drive's partition, a file in it, the end. */
export function filePath(partition: number, file: string): Buffer {
  const drive = Buffer.concat([u32le(partition), Buffer.alloc(34)]);
  return Buffer.concat([
    devicePathNode(4, 1, drive),
    devicePathNode(4, 4, utf16(file)),
    devicePathNode(0x7f, 0xff, Buffer.alloc(0)),
  ]);
}

/** UEFI_IMAGE_LOAD_EVENT of an image with this content: its hash is measured, its path isn't. */
export function imageEvent(
  file: string,
  image: Buffer,
  type: number = EVENT_TYPE.EV_EFI_BOOT_SERVICES_APPLICATION,
): EventInput {
  const path = filePath(1, file);
  return {
    pcr: 4,
    type,
    measured: image,
    data: Buffer.concat([u64le(0x1000n), u64le(BigInt(image.length)), u64le(0n), u64le(BigInt(path.length)), path]),
  };
}

/** An EV_IPL event of GRUB's: `prefix` stands before what was measured. */
export function grubEvent(prefix: string, text: string): EventInput {
  return { pcr: 8, type: EVENT_TYPE.EV_IPL, data: Buffer.from(`${prefix}: ${text}\0`), measured: Buffer.from(text) };
}

/** A file that GRUB read, or shim's list of keys: its content is measured, its name isn't. */
export function fileEvent(pcr: number, name: string, content: string): EventInput {
  return { pcr, type: EVENT_TYPE.EV_IPL, data: Buffer.from(`${name}\0`), measured: Buffer.from(content) };
}

export interface BootOptions {
  secureBoot?: boolean;
  loader?: string;
  locality?: number;
  commandLine?: string;
  initrd?: string;
}

/** What a machine measures when it boots Linux by way of shim and GRUB. */
export function bootEvents(options: BootOptions = {}): EventInput[] {
  const linux = `/vmlinuz ${options.commandLine ?? 'root=/dev/vda2 ro quiet'}`;
  const separators = [0, 1, 2, 3, 4, 5, 6, 7].map((pcr): EventInput => ({
    pcr,
    type: EVENT_TYPE.EV_SEPARATOR,
    data: Buffer.alloc(4),
  }));
  return [
    ...(options.locality === undefined ? [] : [startupLocalityEvent(options.locality)]),
    { pcr: 0, type: EVENT_TYPE.EV_S_CRTM_VERSION, data: utf16('firmware 1.2') },
    variableEvent(
      7,
      EVENT_TYPE.EV_EFI_VARIABLE_DRIVER_CONFIG,
      'SecureBoot',
      Buffer.from([options.secureBoot === false ? 0 : 1]),
    ),
    variableEvent(7, EVENT_TYPE.EV_EFI_VARIABLE_DRIVER_CONFIG, 'PK', Buffer.alloc(40, 7)),
    variableEvent(1, EVENT_TYPE.EV_EFI_VARIABLE_BOOT, 'BootOrder', Buffer.from('0100', 'hex')),
    { pcr: 4, type: EVENT_TYPE.EV_EFI_ACTION, data: Buffer.from('Calling EFI Application from Boot Option') },
    ...separators,
    imageEvent('\\EFI\\debian\\shimx64.efi', Buffer.from('shim')),
    imageEvent('\\EFI\\debian\\grubx64.efi', Buffer.from(options.loader ?? 'grub 2.12')),
    fileEvent(14, 'MokList', 'keys of the owner'),
    grubEvent('grub_cmd', `linux ${linux}`),
    fileEvent(9, '/vmlinuz', 'kernel 6.1'),
    grubEvent('kernel_cmdline', linux),
    grubEvent('grub_cmd', 'initrd /initrd.img'),
    fileEvent(9, '/initrd.img', options.initrd ?? 'initrd 6.1'),
    { pcr: 5, type: EVENT_TYPE.EV_EFI_ACTION, data: Buffer.from('Exit Boot Services Returned with Success') },
  ];
}
