"""Host names under which strangers register: nobody may hold a wildcard for all of them.

The Baseline Requirements section 3.2.2.6 forbid a wildcard directly under a "registry-controlled" name. The full Public
Suffix List has ten thousand rules and changes weekly; what is here is its shape: every top-level domain, the labels
that country registries put under theirs, and, apart, the largest hosters of others' content. The requirements tell a CA
to leave the hosters out (amazon.com has a certificate for *.s3.amazonaws.com), so they count only when asked for.
"""


def _words(*lines: str) -> frozenset[str]:
    return frozenset(word for line in lines for word in line.split())


_REGISTRY_LABELS = _words("ac co com ed edu go gob gouv gov govt gub ltd mil ne net nhs nom or org plc police sch")
"""What registries of two-letter domains put between themselves and their customers: co.uk, com.au, gob.mx, or.jp."""

_HOSTERS = _words(
    "amazonaws.com s3.amazonaws.com compute.amazonaws.com elb.amazonaws.com execute-api.amazonaws.com on.aws",
    "elasticbeanstalk.com awsapprunner.com amplifyapp.com cloudfront.net",
    "appspot.com firebaseapp.com web.app run.app cloudfunctions.net withgoogle.com blogspot.com",
    "azurewebsites.net azure-api.net azurecontainer.io azurefd.net azureedge.net azurestaticapps.net cloudapp.net",
    "cloudapp.azure.com blob.core.windows.net web.core.windows.net trafficmanager.net",
    "github.io githubusercontent.com gitlab.io bitbucket.io codeberg.page pages.dev workers.dev r2.dev",
    "herokuapp.com netlify.app vercel.app now.sh onrender.com fly.dev deno.dev surge.sh glitch.me repl.co replit.app",
    "ngrok.io ngrok.app ngrok-free.app trycloudflare.com loca.lt edgecompute.app global.ssl.fastly.net",
    "akamaized.net edgekey.net edgesuite.net digitaloceanspaces.com ondigitalocean.app linodeobjects.com",
    "wpengine.com wordpress.com weebly.com wixsite.com myshopify.com readthedocs.io sourceforge.io",
    "dyndns.org duckdns.org no-ip.org ddns.net hopto.org sslip.io nip.io",
)
"""Registrable domains whose owners give subdomains to strangers, as the list's private section says."""

_REGIONAL = _words("s3 s3-website elb compute execute-api")


def is_public_suffix(labels: tuple[str, ...], hosters: bool) -> bool:
    """Whether strangers register directly under the host name `labels` (lower case)."""
    if len(labels) <= 1 or (len(labels) == 2 and len(labels[1]) == 2 and labels[0] in _REGISTRY_LABELS):
        return True
    regional = len(labels) == 4 and labels[2:] == ("amazonaws", "com") and labels[0] in _REGIONAL
    return hosters and (regional or ".".join(labels) in _HOSTERS)
