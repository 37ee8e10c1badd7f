"""Who is who: the cloud's certificate authority, its certificates, and the enrolment of gateways."""
