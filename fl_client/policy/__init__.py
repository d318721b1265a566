"""What this site allows: rules, decisions about plans, enrolments, consent, figures."""
