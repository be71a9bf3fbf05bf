"""Host names under which anybody can register: nobody may hold a wildcard for all of them.

The Baseline Requirements section 3.2.2.6 forbid a wildcard directly under a "registry-controlled" name or a public
suffix. The full Public Suffix List changes weekly and has ten thousand rules; what is here is its shape: every
top-level domain, the second-level labels that country registries use, and the largest hosters of strangers' content. A
caller with the full list gives it to `is_public_suffix`.
"""

from collections.abc import Collection


def _words(*lines: str) -> frozenset[str]:
    return frozenset(word for line in lines for word in line.split())


_REGISTRY_LABELS = _words(
    "ac ad asn biz co com coop ed edu fin firm gen gob gop gouv gov govt gub idf id ind inf info int iwi k12 lg ltd "
    "mail me mi mil mob mod mus muni name ne net ngo nhs nic nom nsw or org parliament plc police pp pro prd press "
    "qld rec res sa sch school sci store tas tm tur vet vic wa web"
)
"""Labels that registries of two-letter top-level domains put between themselves and their customers: co.uk, com.au,
gob.mx.
"""

_HOSTERS = _words(
    """
    amazonaws.com s3.amazonaws.com compute.amazonaws.com elb.amazonaws.com execute-api.amazonaws.com awsapprunner.com
    elasticbeanstalk.com amplifyapp.com cloudfront.net on.aws
    appspot.com firebaseapp.com web.app run.app cloudfunctions.net withgoogle.com blogspot.com
    azurewebsites.net azure-api.net azurecontainer.io azurefd.net azureedge.net azurestaticapps.net cloudapp.net
    cloudapp.azure.com blob.core.windows.net web.core.windows.net trafficmanager.net
    github.io githubusercontent.com gitlab.io bitbucket.io codeberg.page pages.dev workers.dev r2.dev
    herokuapp.com netlify.app vercel.app now.sh onrender.com fly.dev railway.app deno.dev surge.sh glitch.me
    repl.co replit.app replit.dev ngrok.io ngrok.app ngrok-free.app trycloudflare.com loca.lt
    fastly.net edgecompute.app global.ssl.fastly.net akamaized.net edgekey.net edgesuite.net
    digitaloceanspaces.com ondigitalocean.app linodeobjects.com vultrobjects.com backblazeb2.com
    oraclecloud.com oraclecloudapps.com objectstorage.oraclecloud.com
    wordpress.com wpengine.com tumblr.com weebly.com wixsite.com squarespace.com myshopify.com shopifypreview.com
    readthedocs.io readthedocs.org sourceforge.io web.de dyndns.org duckdns.org no-ip.org ddns.net hopto.org
    sslip.io nip.io
    """
)
"""Registrable domains whose owners give subdomains to strangers, as their entries in the list's private section say."""


def is_public_suffix(labels: tuple[str, ...], listed: Collection[str] = ()) -> bool:
    """Whether strangers register directly under the host name `labels` (lower case). `listed` adds exact suffixes."""
    name = ".".join(labels)
    if len(labels) <= 1 or name in _HOSTERS or name in listed:
        return True
    top = labels[-1]
    if len(labels) == 2 and len(top) == 2 and labels[0] in _REGISTRY_LABELS:
        return True
    regional = len(labels) == 4 and labels[2:] == ("amazonaws", "com")  # s3.eu-west-1.amazonaws.com and its like
    return regional and labels[0] in ("s3", "s3-website", "elb", "compute", "execute-api")
