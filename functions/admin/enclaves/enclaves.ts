/** Ends users' enclaves: the one thing that administration does to what runs. */
export interface Enclaves {
  /** Ends the user's enclave, whichever it is; that there is none is no error. */
  end(user: string): Promise<void>;
}
