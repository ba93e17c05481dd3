import type { AdministratorCode } from './administrator';
import type { AttestorCode, EnrolmentCode } from './attestor';
import type { ClientCode } from './client';
import type { EnclaveCode } from './enclave';
import type { MachineCode, OperatorCode } from './operator';
import type { ServiceCode } from './service';
import type { TransportCode } from './transport';
import type { ChainCode, LicenceKeyCode, ParsingCode, SeatTokenCode, VerifierCode } from './verifier';

/** What may cross the wire beside a gRPC status: `RpcError.code`. */
export type WireCode =
  | ServiceCode
  | AdministratorCode
  | AttestorCode
  | EnrolmentCode
  | EnclaveCode
  | TransportCode
  | MachineCode
  | LicenceKeyCode
  | SeatTokenCode
  | ChainCode
  | Extract<ClientCode, `oidc.provider_${string}` | `connection.${string}` | `service.${string}`>;

/** Every code of the project. */
export type Code = WireCode | VerifierCode | ParsingCode | ClientCode | OperatorCode;
