import { z } from 'zod';

const seconds = (fallback: number) => z.coerce.number().int().positive().default(fallback);

/** What the Knative launcher takes from the environment. */
export const knativeSettings = z.object({
  /** Namespace of the enclaves. Nothing but enclaves is in it. */
  ENCLAVE_NAMESPACE: z.string().default('licensing-enclaves'),
  /** A Knative Service in YAML or JSON without name and image: resources, node selector, volumes, everything the operator decides. */
  ENCLAVE_TEMPLATE_FILE: z.string(),
  /** The enclave's image. By digest only: a tag can be moved to another image. */
  ENCLAVE_IMAGE: z.string().regex(/@sha256:[0-9a-f]{64}$/, 'expected REPOSITORY@sha256:HEX'),
  /** Put into every enclave: whose certificates it believes. */
  TRUST_DOMAIN: z.string(),
  /** Labels of the nodes where enclaves run, KEY=VALUE separated by commas, added to the template's: nodes with a TPM and an attestor. */
  ENCLAVE_NODE_SELECTOR: z
    .string()
    .default('')
    .transform((text, context) => {
      const pairs = text
        .split(',')
        .filter(Boolean)
        .map((pair) => pair.split('=', 2));
      if (pairs.every(([key, value]) => key && value !== undefined))
        return Object.fromEntries(pairs) as Record<string, string>;
      context.addIssue({ code: 'custom', message: 'expected KEY=VALUE, separated by commas' });
      return z.NEVER;
    }),
  /** RuntimeClass of the enclaves, such as gVisor's or Kata's, where the cluster has one. */
  ENCLAVE_RUNTIME_CLASS: z.string().optional(),
  /** Size of a persistent volume for each enclave, a Kubernetes quantity; left out: an enclave's files end with its pod. */
  ENCLAVE_VOLUME_SIZE: z
    .string()
    .regex(/^[1-9]\d*(\.\d+)?(Ki|Mi|Gi|Ti|Pi|k|M|G|T|P)?$/, 'expected a quantity such as 10Gi')
    .optional(),
  /** StorageClass of the volumes; left out: the cluster's default one. */
  ENCLAVE_STORAGE_CLASS: z.string().optional(),
  /** 32 random bytes or more; names of enclaves are made with them, so that nobody can guess one. */
  NAME_KEY_FILE: z.string(),
  /** Until an enclave serves, pulling its image included. */
  ENCLAVE_START_SECONDS: seconds(90),
  /** Until a node has room for it. Raise it where a cluster autoscaler adds nodes. */
  ENCLAVE_SCHEDULE_SECONDS: seconds(15),
});
