"""Whether a cluster, a host, its certificates and its log are as they should be: pure judgement of what was seen."""
