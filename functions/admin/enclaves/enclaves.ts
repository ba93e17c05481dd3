/** Ends users' enclaves: the one thing that administration does to what runs. */
export interface Enclaves {
  /** Ends the user's enclaves, whichever they are; that there is none is no error. Files that are kept stay. */
  end(user: string): Promise<void>;
  /** As `end`, and removes everything that they were made of, files included. */
  remove(user: string): Promise<void>;
}
