/** A TPM that has been opened, for one attestation: commands go one after another. */
export interface TpmConnection {
  /** Sends a command. @returns the whole response, its size as its header says @throws TpmCommandError */
  transmit(command: Buffer): Promise<Buffer>;
  /** Lets others in; no error where that was done. A command that is under way is given up. */
  close(): Promise<void>;
}

export type OpenTpm = () => Promise<TpmConnection>;
