"""What inserted canaries prove about epsilon."""
