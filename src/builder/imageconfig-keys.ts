/**
 * The keys of the CAPI image builder's `imageconfig`, in the order and groups of its reference, and the source of each
 * value.
 */
import { closestWord } from "../io/closest-word.ts";

/** The source of a value. */
type KeyOrigin =
  /** The manifest, with an optional default. */
  | "manifest"
  /** What was packed, or the address of this server. */
  | "airferry"
  /** The environment at render time, never the manifest: it must not travel in a bundle. */
  | "secret";

interface ImageconfigKey {
  key: string;
  group: string;
  origin: KeyOrigin;
  /** The build cannot start without it. */
  required?: boolean;
  values?: readonly string[];
  fallback?: string;
}

const os = "Operating system";
const image = "Image and cloud";
const versions = "Component versions";
const subscription = "RHEL subscription (not needed with airgap=true)";
const iso = "ISO, expected in the output folder under this name";
const vsphere = "VMware vSphere";
const aws = "AWS";
const azure = "Azure";
const gcp = "Google Cloud";
const airgap = "Airgap";

/** Every key of the reference. Other keys are refused. */
export const IMAGECONFIG_KEYS: readonly ImageconfigKey[] = [
  {
    key: "os_version",
    group: os,
    origin: "manifest",
    required: true,
    values: ["rhel-8", "rhel-9", "rockylinux-8", "rockylinux-9"],
  },
  {
    key: "image_type",
    group: os,
    origin: "manifest",
    required: true,
    values: ["standard", "fips"],
    fallback: "standard",
  },
  { key: "image_name", group: image, origin: "manifest", required: true },
  {
    key: "cloud_type",
    group: image,
    origin: "manifest",
    values: ["vmware", "aws", "azure", "gcp"],
    fallback: "vmware",
  },
  { key: "k8s_version", group: versions, origin: "airferry", required: true },
  { key: "cni_version", group: versions, origin: "airferry", required: true },
  { key: "containerd_version", group: versions, origin: "airferry", required: true },
  { key: "crictl_version", group: versions, origin: "airferry", required: true },
  { key: "rhel_subscription_user", group: subscription, origin: "secret" },
  { key: "rhel_subscription_pass", group: subscription, origin: "secret" },
  { key: "iso_name", group: iso, origin: "airferry", required: true },
  { key: "iso_checksum", group: iso, origin: "airferry", required: true },
  { key: "aws_access_key", group: aws, origin: "secret" },
  { key: "aws_secret_key", group: aws, origin: "secret" },
  { key: "vcenter_server", group: vsphere, origin: "manifest", required: true },
  { key: "vcenter_user", group: vsphere, origin: "secret", required: true },
  { key: "vcenter_password", group: vsphere, origin: "secret", required: true },
  { key: "vcenter_datacenter", group: vsphere, origin: "manifest", required: true },
  { key: "vcenter_datastore", group: vsphere, origin: "manifest", required: true },
  { key: "vcenter_network", group: vsphere, origin: "manifest", required: true },
  { key: "vcenter_folder", group: vsphere, origin: "manifest", required: true },
  { key: "vcenter_cluster", group: vsphere, origin: "manifest", required: true },
  { key: "vcenter_resource_pool", group: vsphere, origin: "manifest", required: true },
  { key: "vcenter_template", group: vsphere, origin: "manifest" },
  { key: "azure_client_id", group: azure, origin: "secret" },
  { key: "azure_client_secret", group: azure, origin: "secret" },
  { key: "azure_subscription_id", group: azure, origin: "secret" },
  { key: "azure_location", group: azure, origin: "manifest" },
  { key: "azure_storage_account", group: azure, origin: "manifest" },
  { key: "azure_resource_group", group: azure, origin: "manifest" },
  { key: "google_app_creds", group: gcp, origin: "secret" },
  { key: "gcp_project_id", group: gcp, origin: "manifest" },
  { key: "airgap", group: airgap, origin: "airferry", required: true },
  { key: "airgap_ip", group: airgap, origin: "airferry", required: true },
  { key: "k8s_rpm_key", group: airgap, origin: "airferry", required: true },
  { key: "k8s_rpm_server", group: airgap, origin: "airferry", required: true },
  { key: "containerd_url", group: airgap, origin: "airferry", required: true },
  { key: "crictl_url", group: airgap, origin: "airferry", required: true },
  { key: "k8s_container_reg", group: airgap, origin: "airferry", required: true },
  { key: "cert_url", group: airgap, origin: "airferry" },
];

const KNOWN = new Map(IMAGECONFIG_KEYS.map((it) => [it.key, it]));

/** Looks a key up. */
export function imageconfigKey(key: string): ImageconfigKey | undefined {
  return KNOWN.get(key);
}

/** The known key that a mistyped one probably means: `os_versions`, `rhel_subscription-user`. */
export function nearestKey(key: string): string | undefined {
  return closestWord(
    key,
    IMAGECONFIG_KEYS.map((it) => it.key),
  );
}

/** Name of the environment variable of a secret: `AIRFERRY_VCENTER_PASSWORD`. */
export function environmentName(key: string): string {
  return `AIRFERRY_${key.toUpperCase()}`;
}
