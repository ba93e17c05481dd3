/** How a call ended. */
export interface CallEnd {
  /** Canonical name of the gRPC status: OK, UNAUTHENTICATED … CANCELLED where the caller was gone before there was one. */
  code: string;
  /** From its headers to its last byte. */
  seconds: number;
  /** The stable code of a refusal, such as login.wrong_credentials. */
  reason?: string;
}

/** Is told of every call of a server. */
export interface CallObserver {
  /** @param method full name of one that the server serves: never a caller's own text */
  began(method: string): void;
  ended(method: string, end: CallEnd): void;
}
