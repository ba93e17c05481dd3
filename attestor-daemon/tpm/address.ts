/** Where a TPM is, of the TCTIs that are spoken here: the others are left to tpm2-tools. */
export type TpmAddress =
  | { kind: 'device'; path: string }
  | { kind: 'swtpm'; data: SocketAddress; control: SocketAddress }
  | { kind: 'mssim'; data: SocketAddress };

export type SocketAddress = { path: string } | { host: string; port: number };

/** What tpm2-tss takes where the address says nothing. */
const DEFAULT_HOST = 'localhost';
const DEFAULT_PORT = 2321;
const MAX_PORT = 65_535;

/**
 * Reads a TCTI as tpm2-tss does: device:/dev/tpmrm0, swtpm:path=/SOCKET, swtpm:host=HOST,port=PORT, mssim:host=HOST,port=PORT.
 * @returns undefined for one that isn't spoken here
 */
export function parseTpmAddress(tcti: string): TpmAddress | undefined {
  const [, kind, configuration = ''] = /^(device|swtpm|mssim):(.+)$/s.exec(tcti) ?? [];
  if (kind === 'device') return configuration.startsWith('/') ? { kind, path: configuration } : undefined;
  if (kind !== 'swtpm' && kind !== 'mssim') return undefined;
  const data = parseSocket(configuration);
  if (data === undefined) return undefined;
  if (kind === 'swtpm') return { kind, data, control: controlOf(data) };
  // Older tpm2-tss know no path of the simulator.
  return 'path' in data ? undefined : { kind, data };
}

function parseSocket(configuration: string): SocketAddress | undefined {
  const pairs = configuration.split(',').map((pair) => /^(path|host|port)=(.+)$/s.exec(pair));
  const values = new Map(pairs.map((pair) => [pair?.[1], pair?.[2] ?? '']));
  if (values.size !== pairs.length || values.has(undefined)) return undefined;
  const [path, host, port] = ['path', 'host', 'port'].map((name) => values.get(name));
  if (path !== undefined) return values.size === 1 && path.startsWith('/') ? { path } : undefined;
  const number = port === undefined ? DEFAULT_PORT : /^\d{1,5}$/.test(port) ? Number(port) : 0;
  if (number === 0 || number >= MAX_PORT) return undefined;
  return { host: host ?? DEFAULT_HOST, port: number };
}

/** swtpm's control channel stands beside its data: tpm2-tss derives it so. */
function controlOf(data: SocketAddress): SocketAddress {
  return 'path' in data ? { path: `${data.path}.ctrl` } : { host: data.host, port: data.port + 1 };
}
