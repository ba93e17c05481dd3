/** What an enclave is started with, where it is on this machine. */
export interface EnclavePlaces {
  /** Its own while it runs. */
  folder: string;
  /** Its user's. */
  workspace: string;
  /** Holds the attestor's socket, and nothing else. */
  attestorFolder: string;
  clientCaFile: string;
}

/** An enclave that may be started. */
export interface Enclosure {
  /** What runs the enclave's program, with its arguments. Descriptors 3 and 4 are passed on to it. */
  command: readonly string[];
  /** Whether signals and process ids of this machine mean nothing to it. */
  enclosed: boolean;
  /** Those settings that say where things are, as it sees them. */
  settings: Record<string, string>;
  /** Where it will say that it serves, as it is seen from here. */
  readyFile: string;
  /** The file's place, as it is seen from here, and its permission bits. */
  credential: { path: string; mode: number };
  /** Brings along what may have changed on this machine, such as certificates. */
  refresh(): Promise<void>;
}

/** Walls around an enclave: one folder or file each beside this one. */
export interface Isolation {
  name: IsolationName;
  /** For the person at the terminal. */
  description: string;
  /** Makes what the enclave needs, and says how to start it. @throws what the system says */
  enclose(places: EnclavePlaces): Promise<Enclosure>;
}

export const ISOLATIONS = ['bubblewrap', 'none'] as const;
export type IsolationName = (typeof ISOLATIONS)[number];
